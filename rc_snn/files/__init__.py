"""Files: written whole or not at all, read within limits, held by one process at a time."""

from rc_snn.files.atomic import (
    check_room,
    explaining,
    publish,
    replacing,
    scratch,
    sweep,
    write_bytes,
    write_text,
)
from rc_snn.files.limits import (
    allowance,
    gunzip,
    load_npz,
    parse_json,
    read_bytes,
    unzipped,
)
from rc_snn.files.locks import Busy, locked
from rc_snn.files.look import HDF5, first_look

__all__ = [
    "HDF5",
    "Busy",
    "allowance",
    "check_room",
    "explaining",
    "first_look",
    "gunzip",
    "load_npz",
    "locked",
    "parse_json",
    "publish",
    "read_bytes",
    "replacing",
    "scratch",
    "sweep",
    "unzipped",
    "write_bytes",
    "write_text",
]
