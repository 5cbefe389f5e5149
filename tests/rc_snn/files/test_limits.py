"""Bytes that claim or unpack to more than they are."""

import gzip
import io
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from rc_snn.files.limits import gunzip, load_npz

MEMBERS = [b"a rank ", b"", b"code"]


def packed(path, method, array):
    """Write an npz whose only array is packed by a method."""
    held = io.BytesIO()
    np.save(held, array)
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a.npy", held.getvalue())
    return path


def test_a_zip_member_unpacks_to_no_more_than_it_says(tmp_path):
    path = packed(tmp_path / "a.npz", zipfile.ZIP_DEFLATED, np.zeros(8_000_000))
    content = bytearray(path.read_bytes())
    for magic, place in ((b"PK\1\2", 24), (b"PK\3\4", 22)):
        at = content.rindex(magic) + place
        content[at : at + 4] = struct.pack("<I", 500)
    path.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"a\.npz cannot be read"):
        load_npz(path, "an example")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8_000_000


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_without_a_bound_are_refused(method, tmp_path):
    path = packed(tmp_path / "a.npz", method, np.arange(3))
    with pytest.raises(ValueError, match="neither stored nor deflated"):
        load_npz(path, "an example")


@pytest.mark.parametrize("end", [b"", bytes(10_000)])
def test_members_of_gzip_follow_each_other_and_padding(end):
    assert gunzip(b"".join(map(gzip.compress, MEMBERS)) + end, "an example") == b"a rank code"
    long = np.random.default_rng(0).bytes(50_000)
    assert gunzip(gzip.compress(long) + gzip.compress(b"end") + end, "an example") == long + b"end"


@pytest.mark.parametrize("end", [b"x", b"\0x", gzip.compress(b"code", mtime=0)[:-1]])
def test_what_follows_a_member_of_gzip_is_another(end):
    with pytest.raises(ValueError, match="broken gzip stream"):
        gunzip(gzip.compress(b"a rank ") + end, "an example")


def test_a_gzip_stream_holds_as_much_as_is_expected_and_no_more():
    zeros = gzip.compress(bytes(1_000_000))
    assert len(gunzip(zeros, "an example", 1_000_000)) == 1_000_000
    with pytest.raises(ValueError, match="more than the 999999 bytes"):
        gunzip(zeros, "an example", 999_999)
