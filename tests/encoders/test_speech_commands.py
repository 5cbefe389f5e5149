# ruff: noqa: F811  (imported fixtures)
"""Speech Commands: splits by speaker, classes, folders and the download."""

import gzip
import hashlib
import io
import os
import pickle
import re
import tarfile
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from small_speech_commands import (  # noqa: F401
    clip,
    empty_cache,
    names_of,
    packed_once,
    wavs,
    write_wavs,
    zips,
)
from tonic import DiskCachedDataset

from encoders import speech_commands
from encoders.audio import AudioError
from encoders.fetch import DataError
from encoders.log_mel import LogMel
from encoders.speech_commands import (
    KEYWORDS,
    PAPER_KEYWORDS,
    SPLITS,
    SpeechCommands,
    class_of,
    classes,
    download_archive,
    find_recordings,
    split_of,
)

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "speech_commands"
needs_data = pytest.mark.skipif(not SHARED.is_dir(), reason=f"needs Speech Commands in {SHARED}")
pytestmark = pytest.mark.usefixtures("empty_cache")


# The official rule


@needs_data
@pytest.mark.parametrize(("split", "stem"), [("validation", "validation"), ("test", "testing")])
def test_the_rule_gives_every_name_of_the_official_lists_its_split(split, stem):
    names = gzip.decompress((SHARED / f"{stem}_list_v0.02.txt.gz").read_bytes()).decode().split()
    assert len(names) == {"validation": 9_981, "test": 11_005}[split]
    assert {split_of(name) for name in names} == {split}


@needs_data
@pytest.mark.parametrize("split", SPLITS)
def test_the_rule_gives_every_recording_of_the_subset_its_split(split):
    found = find_recordings(split, SHARED)
    assert {split_of(name) for name in found.names} == {split}
    counts = np.bincount([class_of(name) for name in found.names])
    assert len(found.names) == {"train": 7_713, "validation": 1_054, "test": 3_684}[split]
    assert counts[-1] == {"train": 1_397, "validation": 180, "test": 408}[split]


def test_the_rule_depends_on_the_speaker_only_and_takes_about_a_tenth_each():
    assert split_of("yes/0a_nohash_0.wav") == split_of("no/0a_nohash_7.ogg") == split_of("0a")
    drawn = [split_of(f"{i:08x}_nohash_0.wav") for i in range(20_000)]
    for split, share in (("validation", 0.1), ("test", 0.1), ("train", 0.8)):
        assert drawn.count(split) / len(drawn) == pytest.approx(share, abs=0.007)


# Classes


def test_keywords_are_classes_in_their_order_and_every_other_word_is_the_last():
    assert [class_of(f"{word}/a_nohash_0.wav") for word in KEYWORDS] == list(range(8))
    assert class_of("on/a_nohash_0.wav") == 8
    assert class_of("on/a_nohash_0.wav", PAPER_KEYWORDS) == 6
    assert classes() == (*KEYWORDS, "unknown")
    assert len(classes(PAPER_KEYWORDS)) == 11


@pytest.mark.parametrize("keywords", [(), ("yes", "yes"), ("yes", "unknown")])
def test_keywords_that_are_no_classes_are_refused(keywords):
    with pytest.raises(ValueError, match="Keywords must be distinct"):
        classes(keywords)


# The data set


@pytest.mark.parametrize("split", SPLITS)
def test_zips_and_folders_hold_the_split_in_sorted_order(zips, wavs, split):
    for base, ext in ((zips, "ogg"), (zips / "speech_commands", "ogg"), (wavs.parent, "wav")):
        found = find_recordings(split, base)
        assert found.names == tuple(sorted(names_of(split, ext)))


def test_a_sample_is_a_waveform_and_its_class(zips):
    data = SpeechCommands(zips, "validation")
    names = data.recordings.names
    assert len(data) == len(names) == 20
    for index in (0, 7, len(data) - 1):
        samples, target = data[index]
        [i] = [i for i, n in enumerate(names_of("validation", "ogg")) if n == names[index]]
        wanted = clip(100 + i, 9_000 if i % 7 == 0 else 16_000)
        assert samples.dtype == np.float32
        assert samples.shape == wanted.shape
        assert np.corrcoef(samples, wanted)[0, 1] > 0.5, "Vorbis keeps noise roughly"
        assert target == class_of(names[index])


def test_transforms_apply_and_tonics_disk_cache_takes_the_data_set(wavs, tmp_path):
    data = SpeechCommands(
        wavs, "test", transform=LogMel(), target_transform=str, transforms=lambda x, y: (x[:5], y)
    )
    frames, target = data[3]
    assert (frames.shape, target) == ((5, 20), str(data.targets[3]))
    again, _ = DiskCachedDataset(data, cache_path=str(tmp_path / "tonic"))[3]
    np.testing.assert_array_equal(again, frames)


def test_a_data_set_survives_the_way_to_another_process(zips):
    data = SpeechCommands(zips, "test")
    before = data[5][0]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(data))[5][0], before)


def test_official_lists_are_preferred_to_the_rule(wavs):
    train = find_recordings("train", wavs).names
    (wavs / "validation_list.txt").write_text(train[0] + "\n")
    assert train == find_recordings("train", wavs).names, "both lists or none"
    (wavs / "testing_list.txt").write_text("\n".join(train[1:3]))
    assert find_recordings("validation", wavs).names == train[:1]
    assert find_recordings("test", wavs).names == train[1:3]
    assert len(find_recordings("train", wavs).names) == 57


def test_a_named_folder_without_recordings_is_an_error_and_nothing_else_is_searched(
    zips, tmp_path, monkeypatch
):
    (tmp_path / "shared").mkdir()
    os.symlink(zips, tmp_path / "shared" / "data")
    assert find_recordings("test").path.is_relative_to(tmp_path / "shared" / "data")
    empty = tmp_path / "empty"
    empty.mkdir()
    for named in (empty, None):
        if named is None:
            monkeypatch.setenv("RC_SNN_DATA", str(empty))
        with pytest.raises(DataError, match=rf"split test in {empty}: looked for test\.zip"):
            find_recordings("test", named)


def test_without_network_and_data_the_error_names_all_that_was_searched(tmp_path):
    with pytest.raises(DataError, match=r"shared/data or .*cache/rc_snn.*let it download 2\.4 GB"):
        SpeechCommands(download=False)


def test_a_broken_zip_is_named(tmp_path):
    (tmp_path / "train.zip").write_bytes(b"PK broken")
    with pytest.raises(DataError, match=r"train\.zip is not a zip file"):
        find_recordings("train", tmp_path)
    with zipfile.ZipFile(tmp_path / "train.zip", "w") as packed:
        packed.writestr("README", "nothing")
    with pytest.raises(DataError, match=r"train\.zip holds no word"):
        find_recordings("train", tmp_path)


def test_what_a_zip_unpacks_to_is_bounded_and_its_damage_is_named(zips):
    path = zips / "speech_commands" / "test.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("yes/a_nohash_0.wav", bytes(2**24 + 1))
        packed.writestr("yes/b_nohash_0.wav", bytes(1000))
    found = find_recordings("test", zips)
    with pytest.raises(DataError, match=r"test\.zip: yes/a_nohash_0\.wav would unpack .* 16777217"):
        found.read("yes/a_nohash_0.wav")
    content = bytearray(path.read_bytes())
    content[content.index(b"b_nohash_0.wav") + 16] ^= 255
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"b_nohash_0\.wav cannot be unpacked"):
        find_recordings("test", zips).read("yes/b_nohash_0.wav")


def test_a_list_that_is_no_text_is_named(wavs):
    (wavs / "testing_list.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"testing_list\.txt is no list of names"):
        find_recordings("test", wavs)


def test_a_keyword_without_a_recording_is_an_error(zips):
    with pytest.raises(DataError, match="no recording of on, off for the split test"):
        SpeechCommands(zips, "test", keywords=PAPER_KEYWORDS)
    assert SpeechCommands(zips, "test", keywords=("cat",)).targets.count(0) == 2


def test_an_unknown_split_is_refused(zips, as_user):
    with pytest.raises(ValueError, match="split must be one of train, validation, test"):
        find_recordings("testing", zips)


def test_a_damaged_recording_is_named(wavs):
    name = find_recordings("train", wavs).names[4]
    (wavs / name).write_bytes(b"nothing")
    with pytest.raises(AudioError, match=re.escape(name)):
        SpeechCommands(wavs, "train")[4]


# The download


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A small archive in the shape of the official one, and its checksum expected."""
    folder, file = write_wavs(tmp_path / "official"), io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        tar.add(folder, ".")
    packed = file.getvalue()
    monkeypatch.setattr(speech_commands, "ARCHIVE_SHA256", hashlib.sha256(packed).hexdigest())
    return packed


@pytest.fixture
def serve(tmp_path: Path):
    """Serve bytes as a file from 127.0.0.1, with ranges; `asked` notes the Range headers."""
    servers, asked = [], []

    class Handler(SimpleHTTPRequestHandler):
        content = b""

        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            asked.append(wanted)
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
            if start and start >= len(self.content):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(self.content) - start))
            self.end_headers()
            self.wfile.write(self.content[start:])

        def log_message(self, *_: object) -> None:
            pass

    def start(content: bytes) -> str:
        handler = type("Serving", (Handler,), {"content": content})
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(tmp_path)))
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}/archive.tar.gz"

    start.asked = asked  # type: ignore[attr-defined]
    yield start
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


PART = "speech_commands_v0.02.part.tar.gz"


def test_the_archive_is_downloaded_checked_and_unpacked_once(
    archive, serve, empty_cache, monkeypatch
):
    monkeypatch.setattr(speech_commands, "URL", serve(archive))
    for _ in range(2):
        data = SpeechCommands(split="train")
        assert data.recordings.path == empty_cache / "speech_commands_v0.02"
        assert data.recordings.names == tuple(sorted(names_of("train", "wav")))
    assert [p.name for p in empty_cache.glob("[!.]*")] == ["speech_commands_v0.02"]
    assert serve.asked == [None]


@pytest.mark.parametrize("have", [1, 1_000])
def test_an_interrupted_download_goes_on_where_it_stopped(archive, serve, empty_cache, have):
    empty_cache.mkdir(parents=True)
    (empty_cache / PART).write_bytes(archive[:have])
    download_archive(serve(archive))
    assert serve.asked == [f"bytes={have}-"]
    assert len(find_recordings("test").names) == 20


def test_a_part_with_wrong_bytes_is_fetched_anew(archive, serve, empty_cache):
    empty_cache.mkdir(parents=True)
    (empty_cache / PART).write_bytes(bytes(1_000))
    download_archive(serve(archive))
    assert serve.asked == ["bytes=1000-", None]
    assert len(find_recordings("test").names) == 20


def test_wrong_bytes_are_an_error_that_names_both_checksums_and_nothing_is_left(
    archive, serve, empty_cache
):
    wrong = archive[:-1] + b"!"
    with pytest.raises(DataError, match=r"expected .* with SHA-256 .*, found") as error:
        download_archive(serve(wrong))
    for content in (archive, wrong):
        assert hashlib.sha256(content).hexdigest() in str(error.value)
    assert list(empty_cache.glob("[!.]*")) == []


def test_without_network_the_error_says_how_to_go_on(archive, empty_cache):
    with pytest.raises(ConnectionError, match=r"could not be downloaded .* Try again"):
        download_archive("http://127.0.0.1:9/archive.tar.gz")


def test_the_published_checksum_is_the_one_expected():
    assert speech_commands.ARCHIVE_BYTES == 2_428_923_189
    assert speech_commands.ARCHIVE_SHA256[:16] == "af14739ee7dc3114"
    assert len(speech_commands.ARCHIVE_SHA256) == 64


def test_what_macos_adds_is_no_recording(zips, tmp_path):
    recordings = find_recordings("test", zips)
    name = recordings.names[0]
    word, file = name.split("/")
    content = zipfile.ZipFile(recordings.path).read(name)
    with zipfile.ZipFile(tmp_path / "test.zip", "w") as made:
        made.writestr(name, content)
        made.writestr(f"__MACOSX/{word}/._{file}", b"\0\5\x16\7")
        made.writestr(f"{word}/._{file}", b"\0\5\x16\7")
    assert find_recordings("test", tmp_path).names == (name,)
    folder = tmp_path / "folder" / word
    folder.mkdir(parents=True)
    for i in range(50):
        (folder / f"._{i}_nohash_0.wav").write_bytes(b"\0\5\x16\7")
    with pytest.raises(DataError, match="No recordings"):
        find_recordings("test", folder.parent, download=False)


@pytest.mark.parametrize(
    "name", ["test/yes/a_nohash_0.wav", "yes\\a_nohash_0.wav", "a_nohash_0.wav"]
)
def test_a_word_that_is_not_the_only_folder_is_refused_and_not_unknown(name, tmp_path):
    with zipfile.ZipFile(tmp_path / "test.zip", "w") as made:
        made.writestr(name, b"")
    with pytest.raises(DataError, match="whose word is not its only folder"):
        find_recordings("test", tmp_path)
