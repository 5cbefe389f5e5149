"""The readers of the project, by name; a file `*_readers.py` for each room of the house."""

from tests.fuzz import bridge_readers, core_readers
from tests.fuzz.engine import Reader

READERS: dict[str, Reader] = {
    reader.name: reader for reader in (*core_readers.READERS, *bridge_readers.READERS)
}
