"""A row of Table 1 that lives here."""

from dataclasses import dataclass

from benchmarks.table1.rows import Recipe, Row
from outside_lab.networks import Diagonal, seeded
from rc_snn import TrainConfig


@dataclass(frozen=True)
class DiagonalModel:
    """What builds the row's network."""

    n_states: int = 32

    def build(self, seed: int) -> Diagonal:
        """Make the network with the initial weights of this seed."""
        seeded(seed)
        return Diagonal(n_states=self.n_states)


ROWS = (
    Row(
        *("outside-diagonal", 200, "outside", "diagonal state space", "784-32-10", "—", "outside"),
        recipes={
            "quick": {
                "tuned": Recipe(
                    DiagonalModel(),
                    TrainConfig(epochs=3, lr=3e-3, beta=0.0),
                    n_train=1_000,
                    n_validation=200,
                    n_test=500,
                )
            }
        },
    ),
)
