"""States of networks, in whatever tuples and lists they come, as the tuples that a run carries."""

from collections.abc import Callable
from typing import Any, TypeAlias

from torch import Tensor

from bridges.errors import BridgeError
from rc_snn.step_model import State

Tree: TypeAlias = Any
"""A state as the network has it: tensors in tuples, named tuples, lists and dictionaries."""


def map_tensors(tree: Tree, change: Callable[[Tensor], Tensor]) -> Tree:
    """Return a tree of the same form, with every tensor changed.

    Raises:
        BridgeError: if the tree holds anything else.
    """
    if tree is None:
        return None
    if isinstance(tree, Tensor):
        return change(tree)
    if isinstance(tree, dict):
        return {key: map_tensors(part, change) for key, part in tree.items()}
    if isinstance(tree, tuple | list):
        parts = [map_tensors(part, change) for part in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    raise BridgeError(
        f"The state holds a {type(tree).__name__}; the runner carries tensors in tuples, named "
        "tuples, lists and dictionaries. Let the module return those."
    )


def tensors_of(tree: Tree) -> State:
    """Return the tensors of a tree, in order."""
    found: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    map_tensors(tree, keep)
    return tuple(found)


def fill(form: Tree, tensors: State) -> Tree:
    """Return a new tree of this form that holds these tensors.

    Example:
        >>> import torch
        >>> state = [None, (torch.zeros(2, 3), {"v": torch.ones(2)})]
        >>> fill(state, tensors_of(state))[1][1]
        {'v': tensor([1., 1.])}
    """
    left = iter(tensors)
    return map_tensors(form, lambda _: next(left))
