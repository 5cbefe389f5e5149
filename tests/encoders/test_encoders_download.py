"""Downloads from a server on this machine: checked, resumed, and with every way to fail."""

import errno
import gzip
import hashlib
import io
import re
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

from encoders import fetch
from encoders.fetch import DataError
from encoders.mnist import Digits, load_mnist

FIRST = "train-images-idx3-ubyte"


class Mirror:
    """A server of files on 127.0.0.1 that can hang up early, and notes what it was asked for."""

    def __init__(self, files: dict[str, bytes], *, ranges: bool = True) -> None:
        self.files = dict(files)
        self.ranges = ranges
        self.hang_up_after: dict[str, int] = {}
        """Bytes of a file to send before the connection ends, once."""
        self.asked: list[tuple[str, str | None]] = []
        """Name and Range header of each request."""
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mirror.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        name, asked = request.path[1:], request.headers.get("Range")
        self.asked.append((name, asked))
        if name not in self.files:
            request.send_error(404)
            return
        content = self.files[name]
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and self.ranges else 0
        if start and start >= len(content):
            request.send_error(416)
            return
        request.send_response(206 if start else 200)
        if start:
            last = len(content) - 1
            request.send_header("Content-Range", f"bytes {start}-{last}/{len(content)}")
        request.send_header("Content-Length", str(len(content) - start))
        request.end_headers()
        request.wfile.write(content[start : self.hang_up_after.pop(name, len(content))])

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def packed(small_mnist: dict[str, bytes]) -> dict[str, bytes]:
    return {f"{name}.gz": gzip.compress(raw, mtime=0) for name, raw in small_mnist.items()}


@pytest.fixture
def mirror(packed: dict[str, bytes]) -> Iterator[Mirror]:
    mirror = Mirror(packed)
    yield mirror
    mirror.close()


@pytest.fixture
def other_mirror(packed: dict[str, bytes]) -> Iterator[Mirror]:
    mirror = Mirror(packed)
    yield mirror
    mirror.close()


@pytest.fixture
def closed_url() -> str:
    """An address at which nobody listens."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{s.getsockname()[1]}/"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_mnist: object) -> Path:
    """Nothing beside the project, an empty cache: `load_mnist` has to download. No proxy."""
    project = tmp_path / "project"
    monkeypatch.setattr(fetch, "__file__", str(project / "encoders" / "fetch.py"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "cache" / "rc_snn" / "mnist"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


def part_file(cache: Path, mirror: Mirror, name: str = FIRST) -> Path:
    """Where `mnist` keeps what it has of an unfinished file."""
    tag = hashlib.md5(mirror.url.encode()).hexdigest()[:8]
    return cache / f"{name}.{tag}.part.gz"


def assert_is(digits: Digits, raw: dict[str, bytes]) -> None:
    assert digits.name == "MNIST"
    for split, part in ((digits.train, "train"), (digits.test, "t10k")):
        images = np.frombuffer(raw[f"{part}-images-idx3-ubyte"], np.uint8, offset=16)
        labels = np.frombuffer(raw[f"{part}-labels-idx1-ubyte"], np.uint8, offset=8)
        np.testing.assert_array_equal(split.images.numpy(), images.reshape(-1, 28, 28))
        np.testing.assert_array_equal(split.labels.numpy(), labels.astype(np.int64))


def assert_embedded(digits: Digits) -> None:
    assert digits.name == "MNIST-5k"
    assert torch.equal(torch.bincount(digits.train.labels), torch.full((10,), 400))


# A download that works


def test_a_download_lands_in_the_cache_and_leaves_nothing_else(mirror, cache, packed, small_mnist):
    digits = load_mnist(mirrors=[mirror.url])
    assert_is(digits, small_mnist)
    assert digits.origin == str(cache)
    assert contents(cache) == packed  # the four files, no part
    assert mirror.asked == [(name, None) for name in packed]


def test_what_is_in_the_cache_is_not_downloaded_again(mirror, cache, packed, small_mnist):
    load_mnist(mirrors=[mirror.url])
    (cache / f"{FIRST}.gz").unlink()
    mirror.asked.clear()
    assert_is(load_mnist(mirrors=[mirror.url]), small_mnist)
    assert mirror.asked == [(f"{FIRST}.gz", None)]
    mirror.asked.clear()
    assert_is(load_mnist(mirrors=[mirror.url]), small_mnist)
    assert_is(load_mnist(download=False), small_mnist)
    assert mirror.asked == []


def test_no_download_means_no_request_and_no_warning(mirror, cache):
    assert_embedded(load_mnist(download=False, mirrors=[mirror.url]))
    assert mirror.asked == []
    assert not cache.exists()


# Interrupted


@pytest.mark.parametrize("sent", [1, 10_000])
def test_an_interrupted_download_goes_on_where_it_stopped(mirror, cache, packed, small_mnist, sent):
    name = f"{FIRST}.gz"
    mirror.hang_up_after[name] = sent
    with pytest.raises(DataError, match=rf"ended after {sent} of {len(packed[name])} bytes.*again"):
        load_mnist(mirrors=[mirror.url])
    assert contents(cache) == {part_file(cache, mirror).name: packed[name][:sent]}
    mirror.asked.clear()
    assert_is(load_mnist(mirrors=[mirror.url]), small_mnist)
    assert mirror.asked[0] == (name, f"bytes={sent}-")
    assert contents(cache) == packed


def test_a_download_interrupted_twice_is_put_together_from_three_pieces(
    mirror, cache, packed, small_mnist
):
    name = f"{FIRST}.gz"
    for sent in (5_000, 20_000):
        mirror.hang_up_after[name] = sent
        with pytest.raises(DataError, match=f"ended after {sent} of {len(packed[name])} bytes"):
            load_mnist(mirrors=[mirror.url])
    assert_is(load_mnist(mirrors=[mirror.url]), small_mnist)
    assert mirror.asked[:3] == [(name, None), (name, "bytes=5000-"), (name, "bytes=20000-")]
    assert contents(cache) == packed


def test_a_server_that_knows_no_ranges_is_read_from_the_start(mirror, cache, packed, small_mnist):
    name = f"{FIRST}.gz"
    mirror.ranges = False
    mirror.hang_up_after[name] = 10_000
    with pytest.raises(DataError, match="ended after 10000 of"):
        load_mnist(mirrors=[mirror.url])
    assert_is(load_mnist(mirrors=[mirror.url]), small_mnist)
    assert mirror.asked[:2] == [(name, None), (name, "bytes=10000-")]
    assert contents(cache) == packed


def test_a_part_that_is_complete_already_is_checked_and_used(mirror, cache, packed, small_mnist):
    cache.mkdir(parents=True)
    part_file(cache, mirror).write_bytes(packed[f"{FIRST}.gz"])
    assert_is(load_mnist(mirrors=[mirror.url]), small_mnist)
    assert mirror.asked[0] == (f"{FIRST}.gz", f"bytes={len(packed[f'{FIRST}.gz'])}-")
    assert contents(cache) == packed


def test_a_part_is_resumed_only_from_its_own_mirror(mirror, other_mirror, cache, small_mnist):
    other_mirror.files = {  # the same raw bytes, packed in another way
        f"{name}.gz": gzip.compress(raw, 1, mtime=1) for name, raw in small_mnist.items()
    }
    mirror.hang_up_after[f"{FIRST}.gz"] = 10_000
    assert_is(load_mnist(mirrors=[mirror.url, other_mirror.url]), small_mnist)
    assert other_mirror.asked[0] == (f"{FIRST}.gz", None)
    assert (cache / f"{FIRST}.gz").read_bytes() == other_mirror.files[f"{FIRST}.gz"]


@pytest.mark.parametrize("size", [10_000, 100_000])  # shorter and longer than the file
def test_a_part_with_wrong_bytes_is_thrown_away(
    mirror, other_mirror, cache, packed, small_mnist, size
):
    cache.mkdir(parents=True)
    part_file(cache, mirror).write_bytes(b"\0" * size)
    assert_is(load_mnist(mirrors=[mirror.url, other_mirror.url]), small_mnist)
    assert contents(cache) == packed


def test_a_part_with_wrong_bytes_does_not_condemn_its_mirror(mirror, cache, packed, small_mnist):
    cache.mkdir(parents=True)
    part_file(cache, mirror).write_bytes(b"\0" * 10_000)
    assert_is(load_mnist(mirrors=[mirror.url]), small_mnist)


def test_no_part_is_left_when_another_mirror_has_delivered(mirror, other_mirror, cache, packed):
    mirror.hang_up_after[f"{FIRST}.gz"] = 10_000
    load_mnist(mirrors=[mirror.url, other_mirror.url])
    assert contents(cache) == packed


# Mirrors that fail


def test_a_corrupt_first_mirror_is_passed_over(mirror, other_mirror, cache, packed, small_mnist):
    flipped = bytearray(small_mnist[FIRST])
    flipped[100] ^= 1
    mirror.files[f"{FIRST}.gz"] = gzip.compress(bytes(flipped))
    assert_is(load_mnist(mirrors=[mirror.url, other_mirror.url]), small_mnist)
    assert other_mirror.asked == [(f"{FIRST}.gz", None)]
    assert contents(cache) == packed


def test_an_unreachable_first_mirror_is_passed_over(closed_url, mirror, cache, packed, small_mnist):
    assert_is(load_mnist(mirrors=[closed_url, mirror.url]), small_mnist)
    assert contents(cache) == packed


def test_corrupt_mirrors_are_an_error_that_names_what_was_tried(mirror, other_mirror, cache):
    name = f"{FIRST}.gz"
    mirror.files[name] = b"<html>Please log in to this network.</html>"
    other_mirror.files[name] = other_mirror.files["t10k-images-idx3-ubyte.gz"]
    with pytest.raises(DataError, match=rf"^No mirror delivered the right {FIRST}\.") as error:
        load_mnist(mirrors=[mirror.url, other_mirror.url])
    message = str(error.value)
    assert f"{mirror.url}{name}: " in message
    assert f"{other_mirror.url}{name}: " in message
    assert "found a broken gzip stream of 43 bytes" in message
    assert "found the bytes of t10k-images-idx3-ubyte" in message
    assert contents(cache) == {}


def test_a_corrupt_mirror_is_an_error_though_the_other_is_unreachable(mirror, closed_url):
    mirror.files[f"{FIRST}.gz"] = b""
    with pytest.raises(DataError, match=rf"{mirror.url}.*found 0 bytes.*; {closed_url}"):
        load_mnist(mirrors=[mirror.url, closed_url])


def test_without_any_network_the_embedded_digits_stand_in_with_a_warning(closed_url):
    with pytest.warns(UserWarning, match="using the 5,000 embedded digits") as warned:
        digits = load_mnist(mirrors=[closed_url, closed_url])
    assert_embedded(digits)
    [warning] = warned
    assert str(warning.message).count(f"{closed_url}{FIRST}.gz: ") == 2


def answer_500(request):
    request.send_error(500)


def answer_nothing(request):
    request.connection.close()


def answer_noise(request):
    request.wfile.write(b"SSH-2.0-noise\r\n\r\n")


@pytest.mark.parametrize("answer", [answer_500, answer_nothing, answer_noise])
def test_a_mirror_that_answers_wrongly_is_an_error_and_no_lack_of_a_network(
    mirror, closed_url, answer
):
    mirror.answer = answer
    with pytest.raises(DataError, match=rf"No mirror .* {mirror.url}.*Try again"):
        load_mnist(mirrors=[closed_url, mirror.url])


def test_a_file_that_no_mirror_has_is_an_error(mirror, closed_url):
    del mirror.files["t10k-labels-idx1-ubyte.gz"]
    with pytest.raises(DataError, match=r"HTTP Error 404.*Try again"):
        load_mnist(mirrors=[closed_url, mirror.url])


@pytest.mark.parametrize("begun", ["part", "first", "raw"])
def test_what_was_begun_is_not_forgotten_when_the_network_is_gone(
    begun, mirror, closed_url, cache, packed, small_mnist
):
    """Whoever has a part of MNIST wants MNIST, and is told what to do."""
    cache.mkdir(parents=True)
    if begun == "part":
        part_file(cache, mirror).write_bytes(packed[f"{FIRST}.gz"][:1_000])
    elif begun == "first":
        (cache / f"{FIRST}.gz").write_bytes(packed[f"{FIRST}.gz"])
    else:
        (cache / FIRST).write_bytes(small_mnist[FIRST])
    with pytest.raises(DataError, match="Try again: it goes on where it stopped"):
        load_mnist(mirrors=[closed_url])
    assert_is(load_mnist(mirrors=[mirror.url]), small_mnist)


def test_a_cache_that_cannot_be_written_is_an_error_where_there_is_a_network(mirror, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(OSError, match="cache"):
        load_mnist(mirrors=[mirror.url])


def test_a_disk_that_is_full_is_an_error_that_names_the_file(mirror, cache, monkeypatch):
    class Full(io.BytesIO):
        def write(self, block):
            raise OSError(errno.ENOSPC, "No space left on device")

    real = Path.open
    monkeypatch.setattr(
        Path, "open", lambda p, *a: Full() if ".part." in p.name and "b" in a[0] else real(p, *a)
    )
    with pytest.raises(OSError, match="make room, and run the same again") as error:
        load_mnist(mirrors=[mirror.url])
    assert error.value.filename == str(part_file(cache, mirror))
    assert error.value.errno == errno.ENOSPC


def test_a_damaged_file_in_the_cache_is_named_and_not_replaced_in_silence(mirror, cache):
    load_mnist(mirrors=[mirror.url])
    damaged = cache / f"{FIRST}.gz"
    damaged.write_bytes(damaged.read_bytes()[:-20])
    with pytest.raises(DataError, match=rf"^{damaged}: .*Delete or replace the file"):
        load_mnist(mirrors=[mirror.url])


def test_without_network_and_without_a_writable_cache_there_are_the_embedded_digits(
    closed_url, tmp_path
):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match="using the 5,000 embedded digits"):
        assert_embedded(load_mnist(mirrors=[closed_url]))
