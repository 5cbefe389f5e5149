"""Network files of the three formats before `content.FORMAT`, read as the newest."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

Content = tuple[dict[str, Tensor], dict[str, Any]]
"""The tensors of a file, and what it says."""


def _renamed(tensors: dict[str, Tensor], kept: Mapping[str, str]) -> dict[str, Tensor]:
    """Return the tensors under their names of today; those not kept are the model's."""
    return {kept.get(key, f"model.{key}"): value for key, value in tensors.items()}


def _from_zoo(tensors: dict[str, Tensor], about: dict[str, Any]) -> Content:
    """Rank-coded networks on temporal MNIST: "rc_snn.zoo/1"."""
    sizes = about.pop("sizes")
    kernel_size, pool = about.pop("kernel_size"), about.pop("pool")
    kind, options = "RCLSTM", {"n_inputs": 784, "n_hidden": sizes[0], "n_classes": 10}
    if about["kind"] == "convlstm":
        kind = "RCConvLSTM"
        options = {"channels": sizes, "kernel_size": kernel_size or 5, "pool": pool}
    more = {"family": "rank-coded", "kind": f"rc_snn.models:{kind}", "options": options}
    return _renamed(tensors, {"input_mean": "input_mean"}), about | more | {"classes": ()}


def _from_baselines(tensors: dict[str, Tensor], about: dict[str, Any]) -> Content:
    """Networks in continuous time, and of LIF neurons: "rc_snn.baselines/1"."""
    kind, sizes = about["kind"], about.pop("sizes")
    library = about.pop("library", None)
    family, options = "continuous", {"sizes": sizes}
    if library is not None:
        family = "rank-coded" if kind == "rc-lif" else "ttfs"
        named = zip(("n_inputs", "n_hidden", "n_classes"), sizes, strict=True)
        options = {"library": library, **dict(named)}
    elif kind == "conv_rel_psp":
        options = {"channels": sizes[:2], "hidden": sizes[2:]}
    more = {"family": family, "kind": _BASELINES[kind], "options": options, "classes": ()}
    return _renamed(tensors, {}), about | more


_BASELINES = {
    "alpha_psp": "baselines.alpha_psp:alpha_psp",
    "rel_psp": "baselines.rel_psp:rel_psp",
    "conv_rel_psp": "baselines.conv:conv_rel_psp",
    "rc-lif": "baselines.lif:rc_lif",
    "ttfs-lif": "baselines.lif:ttfs_lif",
}


def _from_keywords(tensors: dict[str, Tensor], about: dict[str, Any]) -> Content:
    """Keyword networks: "rc_snn.keywords/1"."""
    front = about.pop("front_end")
    options = {
        "n_inputs": front["n_mels"] * (front["context"] + 1),
        "n_hidden": about.pop("n_hidden"),
        "n_classes": len(about["classes"]),
        "n_dense": about.pop("n_dense"),
    }
    more = {
        "family": "rank-coded",
        "kind": "rc_snn.models:RCLSTM",
        "options": options,
        "n_steps": round(front["clip_ms"] / front["hop_ms"]) + 1 - front["context"],
        "encoder": {"name": "log_mel", **front},
        "reads": "sequences",
    }
    return _renamed(tensors, {"mean": "band_mean", "std": "band_std"}), about | more


OLD: dict[str, Callable[..., Content]] = {
    "rc_snn.zoo/1": _from_zoo,
    "rc_snn.baselines/1": _from_baselines,
    "rc_snn.keywords/1": _from_keywords,
}
