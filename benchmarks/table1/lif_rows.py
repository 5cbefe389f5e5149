"""The rows of Table 1 of LIF networks, on the spikes of the published protocol: bright first."""

from typing import Any

from baselines.lif import Library
from baselines.lif_training import TTFSConfig
from benchmarks.table1.rank_coded_rows import StepNetwork
from benchmarks.table1.rows import Recipe, Row
from rc_snn.training import TrainConfig

_SMALL: Any = {"n_train": 5_000, "n_validation": 1_000}
_TITLES: dict[Library, str] = {"snntorch": "snnTorch", "norse": "norse"}


def _ttfs(library: Library, line: int, lr: float) -> Row:
    """Trained to spike first, by surrogate gradients."""
    model = StepNetwork("ttfs-lif", 340, library=library)
    return Row(
        *(f"lif-{library}", line, "first try", f"LIF ({_TITLES[library]}), TTFS", "784-340-10"),
        *("—", "LIF, surrogate gradients"),
        family="ttfs",
        recipes={
            "quick": {"tuned": Recipe(model, TTFSConfig(epochs=4, lr=lr), **_SMALL)},
            "paper": {"tuned": Recipe(model, TTFSConfig(epochs=12, lr=lr))},
        },
    )


def _rank_coded(library: Library, line: int, lr: float) -> Row:
    """Trained by rank coding."""
    model = StepNetwork("rc-lif", 340, library=library)

    def train(epochs: int) -> TrainConfig:
        return TrainConfig(epochs=epochs, lr=lr, schedule="one_cycle")

    return Row(
        *(f"rc-lif-{library}", line, "first try", f"RC-LIF ({_TITLES[library]})", "784-340-10"),
        *("—", "RC-LIF (ours)"),
        recipes={
            "quick": {"tuned": Recipe(model, train(4), **_SMALL)},
            "paper": {"tuned": Recipe(model, train(12))},
        },
    )


ROWS = (
    _ttfs("snntorch", 16, 3e-3),
    _ttfs("norse", 17, 1e-2),
    _rank_coded("snntorch", 18, 5e-3),
    _rank_coded("norse", 19, 1e-2),
)
