"""Spikes of samples on one grid: what they are, their parts, and others on the same clock."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from jaxtyping import Float, Int32, Int64

from bridges.errors import BridgeError
from bridges.stream import grid
from bridges.stream.clock import Unit, read_dt, seconds
from bridges.stream.grid import Array
from rc_snn.borders.numbers import THOUSANDTH, count, plain, whole
from rc_snn.shown import html

S = TypeVar("S", bound="Spikes")


@dataclass(frozen=True, eq=False)
class Spikes:
    """What `SpikeStream` holds, which says what the fields are, and adds the ways in and out."""

    ticks: Int64[np.ndarray, " spikes"]
    units: Int32[np.ndarray, " spikes"]
    offsets: Int64[np.ndarray, " bounds"]
    dt_s: float
    n_units: int
    n_steps: int
    shape: tuple[int, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    samples: Mapping[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n_units, n_steps, shape = grid.read_grid(self.n_units, self.n_steps, self.shape)
        for name, dtype in (("ticks", np.int64), ("units", np.int32), ("offsets", np.int64)):
            grid.check_array(name, getattr(self, name), dtype)
        grid.check_order(self.ticks, self.units, self.offsets, n_steps, n_units)
        read = {"dt_s": read_dt(self.dt_s), "n_units": n_units, "n_steps": n_steps, "shape": shape}
        for name, value in (read | {"samples": grid.read_rows(self.samples, len(self))}).items():
            object.__setattr__(self, name, value)

    # ---- what it is -------------------------------------------------------------------------

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.offsets) - 1

    def _repr_html_(self) -> str:
        return html.stream(self)

    @property
    def n_spikes(self) -> int:
        """Return the number of spikes in all samples."""
        return len(self.ticks)

    @property
    def duration_s(self) -> float:
        """Return the length of a sample in seconds."""
        return float(seconds(np.array([self.n_steps]), self.dt_s)[0])

    @property
    def sample_ids(self) -> Int64[np.ndarray, " spikes"]:
        """Return the sample of each spike."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    @property
    def neurons(self) -> Int64[np.ndarray, " spikes"]:
        """Return the neuron of each spike if samples run side by side: unit + sample × n_units."""
        neurons: Int64[np.ndarray, " spikes"] = self.sample_ids * self.n_units + self.units
        return neurons

    def times(self, unit: Unit = "s") -> Float[np.ndarray, " spikes"]:
        """Return the time of each spike since its sample's start: see `seconds`."""
        return seconds(self.ticks, self.dt_s, unit)

    def of_sample(self, index: int) -> tuple[Int64[np.ndarray, " _"], Int32[np.ndarray, " _"]]:
        """Return ticks and units of one sample, without a copy."""
        first = count(index, "A sample", -len(self), len(self) - 1) % len(self)
        part = slice(*self.offsets[first : first + 2])
        return self.ticks[part], self.units[part]

    def same_spikes(self, other: "Spikes") -> bool:
        """Return whether both hold the same spikes on the same grid, whatever they say of them."""
        grids = [(s.dt_s, s.n_units, s.n_steps) for s in (self, other)]
        arrays = [(s.ticks, s.units, s.offsets) for s in (self, other)]
        return grids[0] == grids[1] and all(map(np.array_equal, *arrays))

    def twice_per_tick(self, per_tick: int = 1) -> int:
        """Return how many spikes follow `per_tick` others of the same unit in the same tick."""
        columns = (self.sample_ids, self.ticks, self.units)  # sorted: equal ones are neighbours
        return int(np.all([x[per_tick:] == x[:-per_tick] for x in columns], axis=0).sum())

    def repeated(self) -> int:
        """Return how many spikes are not the first of their unit in their sample."""
        return self.n_spikes - len(np.unique(self.neurons))

    # ---- parts and shifts -------------------------------------------------------------------

    def take(self: S, index: Sequence[int] | npt.ArrayLike | slice) -> S:
        """Return some samples, in this order; or those that a mask of all samples says.

        Raises:
            ValueError: if one is no sample's number.
        """
        n = len(self)
        if isinstance(index, slice):
            chosen = np.arange(n)[index]
        else:
            given = plain(index, "Samples")
            mask = given.dtype == bool and given.shape == (n,)
            chosen = given if mask else whole(given, "Samples", -n, n - 1)
            chosen = np.arange(n)[chosen]
        counts = np.diff(self.offsets)[chosen]
        offsets = np.concatenate([[0], counts.cumsum()]).astype(np.int64)
        spikes = np.repeat(self.offsets[chosen] - offsets[:-1], counts) + np.arange(offsets[-1])
        return replace(
            self,
            ticks=self.ticks[spikes],
            units=self.units[spikes],
            offsets=offsets,
            samples={name: array[chosen] for name, array in self.samples.items()},
        )

    def shifted(self: S, ticks: int) -> S:
        """Return every spike later by so many ticks (or earlier), in samples longer by as many.

        Raises:
            BridgeError: if a spike would come before the start.
        """
        ticks = count(ticks, "Ticks to shift by", -(2**53), 2**53)
        if self.n_spikes and int(self.ticks.min()) + ticks < 0:
            raise BridgeError(
                f"Shifting by {ticks} ticks moves the first spike, at tick "
                f"{int(self.ticks.min())}, before the start."
            )
        return replace(self, ticks=self.ticks + ticks, n_steps=self.n_steps + ticks)

    def with_spikes(
        self: S, sample: npt.ArrayLike, ticks: npt.ArrayLike, units: npt.ArrayLike
    ) -> S:
        """Return a stream like this one that holds these spikes, given in any order.

        Args:
            sample: of each spike; whole numbers of any type, as are units.
            ticks: tick of each spike since its sample's start; one within a thousandth of a whole
                number is that.
            units: unit of each spike.

        Raises:
            TypeError: if they are no plain numbers.
            ValueError: if one is not whole or out of range, or there are not as many of each.
        """
        given = [plain(column, "Spikes") for column in (sample, ticks, units)]
        if {column.shape for column in given} != {(given[0].size,)}:
            raise ValueError(
                "Samples, ticks and units must be as many, on one axis each, got shapes "
                f"{', '.join(str(list(column.shape)) for column in given)}."
            )
        read = [
            whole(given[0], "Samples", 0, len(self) - 1),
            whole(given[1], "Ticks of spikes", 0, self.n_steps - 1, THOUSANDTH),
            whole(given[2], "Units", 0, self.n_units - 1),
        ]
        order = np.lexsort(read[::-1])
        of, at, who = (column[order] for column in read)
        return replace(
            self,
            ticks=at,
            units=who.astype(np.int32),
            offsets=np.searchsorted(of, np.arange(len(self) + 1)).astype(np.int64),
        )

    def with_neurons(
        self: S,
        neurons: npt.ArrayLike,
        ticks: npt.ArrayLike,
        n_units: int | None = None,
        *,
        of: int | None = None,
    ) -> S:
        """Return samples on the same clock, whose spikes are of neurons numbered as `neurons`.

        Args:
            neurons: neuron of each spike, in any order.
            ticks: tick of each spike.
            n_units: units per sample, if not those of this stream.
            of: neurons of all samples that there are, with a spike or without.

        Raises:
            BridgeError: if there are not as many neurons as samples times units, which would be
                taken for others.
            ValueError: if a neuron or tick is out of range.

        Example:
            >>> stream = Spikes.silent(2, n_units=3, n_steps=10, dt_s=1e-3)
            >>> stream.with_neurons([5, 2], [9, 0]).neurons.tolist()
            [2, 5]
        """
        n_units = self.n_units if n_units is None else count(n_units, "n_units", low=1)
        last = len(self) * n_units - 1
        if of is not None and of != last + 1:
            raise BridgeError(
                f"{of} neurons were recorded, but {len(self)} samples of {n_units} units are "
                f"{last + 1}. Pass n_units, or record all of them."
            )
        empty = self.silent(len(self), n_units, self.n_steps, self.dt_s)
        neuron = whole(plain(neurons, "Neurons"), "Neurons", 0, last)
        return empty.with_spikes(neuron // n_units, ticks, neuron % n_units)

    @classmethod
    def silent(cls: type[S], n: int, n_units: int, n_steps: int, dt_s: float) -> S:
        """Return samples without a spike.

        Example:
            >>> Spikes.silent(2, n_units=3, n_steps=10, dt_s=1e-3).offsets.tolist()
            [0, 0, 0]
        """
        none = np.zeros(0, np.int64)
        offsets = np.zeros(count(n, "Samples", low=0) + 1, np.int64)
        return cls(none, none.astype(np.int32), offsets, dt_s, n_units, n_steps)
