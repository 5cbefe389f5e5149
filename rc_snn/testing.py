"""Checks that anybody can run on a network of their own: one suite for every network."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from rc_snn import families
from rc_snn.families import RankCoded
from rc_snn.network import Network, load, place
from rc_snn.sequences import DenseSequences, Sequences
from rc_snn.spikes import Decision
from rc_snn.step_model import StepModel, evaluated

STEPS = 10
"""Steps of drawn sequences, where the network does not say how many it reads."""


def check_network(
    network: Network, *, n: int = 16, inputs: Tensor | Sequences | None = None
) -> None:
    """Check that a network keeps the contract that files, tables and bridges rely on.

    - Its decisions are valid: labels are classes, steps lie in 0..T-1 and times are (step + 1) / T,
      what did not fire answers at the end, scores are finite. On silence and full input, too.
    - The same samples get the same decisions: again, alone as in a batch, in training mode, and
      after `save` and `load`. Modes, input and torch's global generator are left as they were.
    - Inputs of another size, and spike times that are NaN, are refused by a ValueError.
    - `cost()`, where the model has it, is what torch's own counter counts for a step: on dense
      input and on the model's `step`, because compiled kernels count nothing. Of a model without
      `step` it is checked where its family reads steps.
    - `account` counts what `decide` returns.

    Args:
        network: any network.
        n: samples to draw, at least two: spike times, some of them silent, or dense noise.
        inputs: samples to decide on instead, if the model takes no such noise.

    Raises:
        AssertionError: if it does not; the message says what is wrong.

    Example:
        >>> from rc_snn.models import RCLSTM
        >>> check_network(Network(name="mine", model=RCLSTM(6, 4, 3), theta=0.34, n_steps=5))
    """
    drawn = _drawn(network, n) if inputs is None else inputs
    decision = _check_decisions(network, drawn)
    if inputs is None:
        for value in (torch.inf, 0.0) if _reads_times(network) else (0.0, 1.0):
            _check_valid(network, _filled(network, value), f"inputs of {value} only")
    _check_batches(network, drawn, decision)
    _check_modes(network, drawn, decision)
    _check_file(network, drawn, decision)
    _check_refusals(network)
    _check_cost(network)
    _check_account(network, drawn, decision)


def _hold(network: Network, condition: object, message: str) -> None:
    """Raise what is wrong; a plain assert would be gone under python -O."""
    if not condition:
        raise AssertionError(f"{network.name}: {message}")


# -- Inputs -------------------------------------------------------------------------------------


def _reads_times(network: Network) -> bool:
    on_steps = isinstance(families.family(network.family), RankCoded)
    return network.reads == "times" and not (on_steps and network.n_steps is None)


def _drawn(network: Network, n: int) -> Tensor | Sequences:
    """Draw spike times in frames, a quarter of them silent, or dense noise; always the same."""
    generator, size = torch.Generator().manual_seed(1), network.model.n_inputs
    device, dtype = place(network.model)
    if _reads_times(network):
        times = torch.rand(n, size, generator=generator)
        return times.masked_fill(torch.rand(n, size, generator=generator) < 0.25, torch.inf).to(
            device
        )
    shape = (network.n_steps or STEPS, n, size)
    return DenseSequences(torch.randn(shape, generator=generator).to(device, dtype))


def _filled(network: Network, value: float, *, more: int = 0) -> Tensor | Sequences:
    """Return two samples of one value, with so many more inputs than the network has."""
    device, dtype = place(network.model)
    size = network.model.n_inputs + more
    if _reads_times(network):
        return torch.full((2, size), value, device=device)
    shape = (network.n_steps or STEPS, 2, size)
    return DenseSequences(torch.full(shape, value, device=device, dtype=dtype))


def _rows(inputs: Tensor | Sequences, index: Tensor) -> Any:
    return inputs[index] if isinstance(inputs, Tensor) else inputs.rows(index)


# -- Decisions ----------------------------------------------------------------------------------


def _check_decisions(network: Network, inputs: Tensor | Sequences) -> Decision:
    """Check the decisions on some samples, and that nothing else changes; return them."""
    _hold(network, len(inputs) > 1, "the check needs at least two samples, to take them apart.")
    state = torch.get_rng_state()
    held = inputs.clone() if isinstance(inputs, Tensor) else inputs.at(0).clone()
    decision = _check_valid(network, inputs, "the samples")
    now = inputs if isinstance(inputs, Tensor) else inputs.at(0)
    _hold(network, torch.equal(held, now), "decide() writes into its input.")
    same = torch.equal(state, torch.get_rng_state())
    _hold(network, same, "decide() draws from torch's global generator.")
    _check_same(network, decision, network.decide(inputs), "asked again", exactly=True)
    return decision


def _check_valid(network: Network, inputs: Tensor | Sequences, what: str) -> Decision:
    """Check the form of the decisions; return them."""
    decision = network.decide(inputs)
    n, n_classes = len(inputs), network.model.n_classes
    wanted = {
        "label": (torch.int64, (n,)),
        "time": (None, (n,)),
        "step": (torch.int64, (n,)),
        "fired": (torch.bool, (n,)),
        "scores": (None, (n, n_classes)),
    }
    for name, (dtype, shape) in wanted.items():
        found = getattr(decision, name)
        if name == "step" and found is None:
            continue
        right = found.is_floating_point() if dtype is None else found.dtype is dtype
        _hold(
            network,
            right and found.shape == shape,
            f"on {what}, {name} of the decision must be {dtype or 'floats'} {list(shape)}, got "
            f"{found.dtype} {list(found.shape)}.",
        )
    label, time = decision.label, decision.time
    inside = ((label >= 0) & (label < n_classes)).all()
    _hold(network, inside, f"on {what}, labels are not all in 0..{n_classes - 1}.")
    _hold(network, decision.scores.isfinite().all(), f"on {what}, scores are not all finite.")
    _hold(network, not decision.scores.requires_grad, f"on {what}, scores carry a graph.")
    _hold(network, (time >= 0).all(), f"on {what}, times are negative or NaN.")
    _check_when(network, decision, inputs, what)
    return decision


def _check_when(
    network: Network, decision: Decision, inputs: Tensor | Sequences, what: str
) -> None:
    """Check the times, on the grid of steps or in continuous time."""
    time, step, fired = decision.time, decision.step, decision.fired
    if step is None:
        _hold(network, time[fired].isfinite().all(), f"on {what}, something fired at no time.")
        forced = time[~fired]
        _hold(
            network,
            (forced.isinf() | (forced == 1.0)).all(),
            f"on {what}, an answer that did not fire must have the time inf, or 1, the frame's "
            f"end; got {forced.tolist()}.",
        )
        return
    n_steps = network.n_steps or int(getattr(inputs, "n_steps", 0))
    _hold(network, n_steps, "decisions have steps, but the network does not say n_steps.")
    inside = ((step >= 0) & (step < n_steps)).all()
    _hold(network, inside, f"on {what}, steps are not all in 0..{n_steps - 1}: {step.tolist()}.")
    on_grid = torch.allclose(time.double(), (step + 1).double() / n_steps, rtol=0, atol=1e-6)
    _hold(network, on_grid, f"on {what}, times are not (step + 1) / {n_steps} frames.")
    at_end = (step[~fired] == n_steps - 1).all()
    _hold(network, at_end, f"on {what}, an answer that did not fire is not at the last step.")


def _check_same(
    network: Network, one: Decision, other: Decision, what: str, *, exactly: bool
) -> None:
    """Check that decisions agree: times and scores but for rounding, unless exactly."""
    for name in ("label", "step", "fired", "time", "scores"):
        a, b = getattr(one, name), getattr(other, name)
        if a is None and b is None:
            continue
        _hold(network, a is not None and b is not None, f"{what}, decisions have other fields.")
        rounded = name == "scores" or (name == "time" and one.step is None)
        same = torch.isclose(a, b, rtol=1e-4, atol=1e-5) if rounded and not exactly else a == b
        other_ones = int((~same.reshape(len(same), -1).all(dim=1)).sum())
        _hold(network, other_ones == 0, f"{what}, {name} differs in {other_ones} samples.")


def _check_batches(network: Network, inputs: Tensor | Sequences, decision: Decision) -> None:
    """Check that a sample is decided alike alone, whatever it was in a batch with."""
    alone = [network.decide(_rows(inputs, torch.tensor([i]))) for i in range(len(inputs))]
    _check_same(network, decision, Decision.cat(alone), "alone and not in a batch", exactly=False)


def _check_modes(network: Network, inputs: Tensor | Sequences, decision: Decision) -> None:
    """Check that decisions are those of evaluation, and that modes are left as they are."""
    model = network.model
    modes = [(part, part.training) for part in model.modules()]
    try:
        model.train()
        again = network.decide(inputs)
        left = all(part.training for part in model.modules())
    finally:
        for part, training in modes:
            part.training = training
    _check_same(network, decision, again, "in training mode", exactly=True)
    _hold(network, left, "decide() takes the model out of the training mode.")


def _check_file(network: Network, inputs: Tensor | Sequences, decision: Decision) -> None:
    """Check that the network comes back from a file as it is."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            back = load(network.save(Path(folder, f"{network.name}.safetensors")))
        except ValueError as error:
            raise AssertionError(f"{network.name} has no file: {error}") from error
    for field in ("name", "family", "theta", "n_steps", "classes", "reads", "record"):
        was, found = getattr(network, field), getattr(back, field)
        _hold(network, was == found, f"{field} was {was!r}, and is {found!r} in its file.")
    for field in ("encoder", "measured"):
        was, found = json.loads(json.dumps(dict(getattr(network, field)))), getattr(back, field)
        _hold(network, was == found, f"{field} was {was!r}, and is {found!r} in its file.")
    device, _ = place(network.model)
    back.model.to(device)
    whole = network.model.state_dict(prefix="model.") | dict(network.tensors)
    found = back.model.state_dict(prefix="model.") | dict(back.tensors)
    _hold(network, whole.keys() == found.keys(), "its file has other tensors than the network.")
    for key, was in whole.items():
        same = was.dtype == found[key].dtype and torch.equal(was.to(device), found[key].to(device))
        _hold(network, same, f"{key.removeprefix('model.')} is another in its file.")
    _check_same(network, decision, back.decide(inputs), "loaded from its file", exactly=True)


def _check_refusals(network: Network) -> None:
    """Check that what does not fit is refused, by a ValueError that says so."""
    wrong = {"inputs of another size": _filled(network, 0.0, more=1)}
    if _reads_times(network):
        wrong["spike times that are NaN"] = _filled(network, torch.nan)
    for what, inputs in wrong.items():
        try:
            network.decide(inputs)
        except ValueError:
            continue
        except Exception as error:
            raise AssertionError(
                f"{network.name}: {what} end in {type(error).__name__} ({error}); they should be "
                "refused by a ValueError that says what fits."
            ) from error
        raise AssertionError(f"{network.name}: {what} are not refused.")


# -- What it costs ------------------------------------------------------------------------------


def _check_cost(network: Network) -> None:
    """Check the multiply-adds of a step that is not the first, and the synapses of the inputs."""
    model, on_steps = network.model, isinstance(families.family(network.family), RankCoded)
    if not hasattr(model, "cost") or not (on_steps or isinstance(model, StepModel)):
        return
    cost = model.cost()
    with torch.no_grad(), evaluated(model):
        counted = _step_macs(model) if isinstance(model, StepModel) else _added_macs(network)
    told = cost.input + cost.inner + cost.recurrent + cost.read_out
    _hold(
        network, told == counted, f"cost() says {told:,} multiply-adds, torch counts {counted:,}."
    )
    fan_out = torch.as_tensor(cost.fan_out)
    inside = fan_out.shape == (model.n_inputs,) and 0 <= float(fan_out.sum()) <= cost.input
    _hold(
        network,
        inside,
        f"fan_out must be the synapses of each of {model.n_inputs} inputs, {cost.input:,} together "
        f"at most; got {list(fan_out.shape)} with {float(fan_out.sum()):,.0f}.",
    )


def _step_macs(model: StepModel) -> int:
    """Count one sample's second step, and its read-out; the first one has no state to multiply."""
    device, dtype = place(model)  # type: ignore[arg-type]
    x = torch.ones(1, model.n_inputs, device=device, dtype=dtype)
    _, state = model.step(x, None)
    with FlopCounterMode(display=False) as counter:
        model.read_out(model.step(x, state)[0])
    return int(counter.get_total_flops()) // 2


def _added_macs(network: Network) -> int:
    """Count what one more step adds to silence, which nothing answers before the end."""
    device, dtype = place(network.model)
    found = []
    for n_steps in (2, 3):
        silent = DenseSequences(
            torch.zeros(n_steps, 1, network.model.n_inputs, device=device, dtype=dtype)
        )
        with FlopCounterMode(display=False) as counter:
            replace(network, n_steps=n_steps, tensors={}).decide(silent)
        found.append(int(counter.get_total_flops()) // 2)
    return found[1] - found[0]


def _check_account(network: Network, inputs: Tensor | Sequences, decision: Decision) -> None:
    """Check that the account is that of the decisions."""
    if not isinstance(inputs, Tensor):
        return
    account = network.account(decision.label, inputs)
    n, fired = len(decision), int(decision.fired.sum())
    found = tuple(account.get(key) for key in ("n", "fired", "forced"))
    _hold(
        network,
        found == (n, fired, n - fired),
        f"account() must count n, fired and forced as decide() does, {(n, fired, n - fired)}; got "
        f"{found}.",
    )
