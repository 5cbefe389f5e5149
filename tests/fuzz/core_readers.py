"""Readers of rc_snn, encoders, baselines and benchmarks."""

from pathlib import Path

import rc_snn
from benchmarks import record
from benchmarks.record import Record
from rc_snn.network import SHELF, Network
from tests.fuzz.engine import Reader
from tests.fuzz.mutations import header_of_safetensors

ROOT = Path(__file__).resolve().parents[2]


def copied(*sources: Path):
    """Return a function that copies these files into a folder."""

    def seeds(folder: Path) -> list[Path]:
        places = [folder / source.name for source in sources]
        for source, place in zip(sources, places, strict=True):
            place.write_bytes(source.read_bytes())
        return places

    return seeds


def _read_record(path: Path) -> Record:
    found = record.read(path)
    if isinstance(found, str):
        raise ValueError(f"{path} {found}")
    return found


READERS = (
    Reader(
        "network",
        copied(*(SHELF / f"{name}.safetensors" for name in ("rc-lstm-340-fast", "lif-norse"))),
        lambda path: rc_snn.load(path),
        check=lambda network: isinstance(network, Network),
        layers=(header_of_safetensors,),
        about="a trained network, safetensors",
    ),
    Reader(
        "record",
        copied(*sorted((ROOT / "results" / "table1").glob("paper_rc-lstm-fast_tuned*"))[:2]),
        _read_record,
        about="a record of results/, JSON",
    ),
)
