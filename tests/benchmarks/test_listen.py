"""The live demo: recordings of any length, the microphone, and bad audio with its reason."""

import re
import runpy
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from benchmarks import listen
from benchmarks.listen import Listen, hear, limited, main, microphone
from encoders.keyword_features import Normalisation
from encoders.keyword_network import KeywordStream, keyword_network
from encoders.log_mel import LogMel
from rc_snn.models import RCLSTM
from rc_snn.network import Network

CLASSES = ("yes", "no", "unknown")


def loudness_network() -> Network:
    """Weights by hand: "yes" gains with each loud frame; without any, nothing reaches θ.

    One unit, whose input gate is open for loud frames only, and which forgets nothing.
    """
    front_end = LogMel(n_mels=4, context=0)
    model = RCLSTM(4, 1, 3).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.cell.bias_ih.copy_(torch.tensor([-4.0, 10.0, 0.3, 10.0]))  # input, forget, cell, out
        model.cell.weight_ih[0] = 1.0  # the input gate: -12 if quiet, about +4 if loud
        model.output.weight.copy_(torch.tensor([[8.0], [0.0], [0.0]]))
        model.output.bias.copy_(torch.tensor([-1.0, 0.5, 0.0]))
    normalisation = Normalisation(torch.full((4,), -10.0), torch.full((4,), 4.0))
    return keyword_network("loud", model, 0.9, normalisation, front_end, CLASSES)


def recording(*loud_s: tuple[float, float], seconds: float) -> np.ndarray:
    """Noise at a level near silence, loud in these stretches."""
    noise = np.random.default_rng(0).standard_normal(round(16_000 * seconds)).astype(np.float32)
    level = np.full(len(noise), 1e-5, np.float32)
    for begin, end in loud_s:
        level[round(begin * 16_000) : round(end * 16_000)] = 0.2
    return noise * level


def pieces(samples: np.ndarray, n: int = 160) -> list[np.ndarray]:
    return [samples[i : i + n] for i in range(0, len(samples), n)]


@pytest.fixture
def model(tmp_path) -> str:
    return str(loudness_network().save(tmp_path / "networks" / "loud.safetensors"))


def wav(folder: Path, samples: np.ndarray, rate: int = 16_000, name: str = "clip.wav") -> Path:
    soundfile.write(folder / name, samples, rate, subtype="FLOAT")
    return folder / name


# Clips


def test_a_loud_second_fires_soon_after_it_gets_loud_and_a_quiet_one_is_forced():
    samples = recording((0.4, 0.7), (2.25, 2.5), seconds=3.0)
    first, second, third = hear(loudness_network(), pieces(samples))
    assert (first.fired, first.label, first.start_ms) == (True, "yes", 0.0)
    assert 400 < first.heard_ms < 500
    assert (second.fired, second.label, second.heard_ms) == (False, "no", 1000.0)
    assert (third.fired, third.label, third.start_ms) == (True, "yes", 2000.0)
    assert 250 < third.heard_ms < 350


@pytest.mark.parametrize("n", [1, 160, 4_000, 16_000, 100_000])
def test_the_size_of_the_pieces_changes_nothing(n):
    samples = recording((0.4, 0.7), (1.25, 2.1), seconds=2.6)
    wanted = list(hear(loudness_network(), pieces(samples)))
    found = list(hear(loudness_network(), pieces(samples, n)))
    assert len(found) == 3
    assert [(h.label, h.heard_ms, h.fired) for h in found] == [
        (h.label, h.heard_ms, h.fired) for h in wanted
    ]


def test_each_second_is_answered_as_a_clip_of_its_own():
    samples = recording((0.9, 1.05), (2.9, 3.3), seconds=3.5)
    net = loudness_network()
    heard = list(hear(net, pieces(samples)))
    assert len(heard) == 4
    for i, answer in enumerate(heard):
        stream = KeywordStream(net)
        stream.push(samples[16_000 * i : 16_000 * (i + 1)])
        decision = stream.finish()
        assert answer.heard_ms == stream.heard_ms
        assert answer.label == net.classes[int(decision.label)]
        assert answer.p == pytest.approx(float(decision.scores.max()))


def test_an_answer_comes_before_the_rest_of_the_recording_is_asked_for():
    samples = recording((0.2, 0.6), seconds=1.0)
    asked = 0

    def source():
        nonlocal asked
        for piece in pieces(samples):
            asked += len(piece)
            yield piece

    first = next(hear(loudness_network(), source()))
    assert asked <= 16 * first.heard_ms + 160


def test_a_short_recording_ends_in_silence_and_a_tail_below_one_window_is_left_out():
    net = loudness_network()
    [short] = hear(net, pieces(recording(seconds=0.3)))
    assert (short.fired, short.heard_ms) == (False, 1000.0)
    assert len(list(hear(net, pieces(recording(seconds=1.0 + 399 / 16_000))))) == 1
    assert len(list(hear(net, pieces(recording(seconds=1.0 + 400 / 16_000))))) == 2


def test_theta_of_the_command_is_taken():
    samples = recording((0.4, 0.9), seconds=1.0)
    net = loudness_network()
    [late], [soon] = (list(hear(net, pieces(samples), theta)) for theta in (0.95, 0.6))
    assert soon.heard_ms < late.heard_ms
    assert soon.p >= 0.6


# The command


def test_the_command_prints_label_probability_and_absolute_milliseconds(tmp_path, model, capsys):
    samples = recording((1.4, 1.7), seconds=2.0)
    path = wav(tmp_path, np.stack([samples, samples], axis=1))
    assert main(Listen((path,), model=model)) == 0
    head, name, quiet, loud = capsys.readouterr().out.splitlines()
    assert head == "loud, theta = 0.9: yes, no, unknown"
    assert name == f"{path}: 2.000 s; 2 channels were averaged"
    assert re.fullmatch(
        r"  no keyword fired by 1000 ms: best guess no, p = 0\.\d{3} \(forced\)", quiet
    )
    found = re.fullmatch(r"  yes, p = (0\.9\d\d|1\.000), fired at (\d+\.\d) ms", loud)
    assert 1_400 < float(found[2]) < 1_500


def test_digital_silence_is_said(tmp_path, model, capsys):
    assert main(Listen((wav(tmp_path, np.zeros(16_000, np.float32)),), model=model)) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("(forced) [digital silence]")


def test_bad_recordings_are_refused_with_the_reason_and_the_others_are_heard(
    tmp_path, model, capsys
):
    good = wav(tmp_path, recording((0.3, 0.9), seconds=1.0))
    nan = wav(tmp_path, np.full(16_000, np.nan, np.float32), name="nan.wav")
    tiny = wav(tmp_path, np.zeros(16, np.float32), name="tiny.wav")
    text = tmp_path / "text.wav"
    text.write_text("not audio")
    (tmp_path / "empty.wav").touch()
    bad = (nan, tiny, text, tmp_path / "empty.wav", tmp_path / "none.wav")
    assert main(Listen((*bad, good), model=model)) == 1
    printed = capsys.readouterr()
    errors = printed.err.splitlines()
    reasons = ("NaN or infinity", "lasts 1.0 ms", "is not audio", "is an empty file", "not a file")
    assert len(errors) == len(bad)
    for line, path, reason in zip(errors, bad, reasons, strict=True):
        assert line.startswith(f"error: {path}")
        assert reason in line
    assert printed.out.splitlines()[-1].startswith("  yes, p = ")


def test_another_rate_is_resampled_and_heard_at_the_same_time(tmp_path, model, capsys):
    loud = recording((0.4, 0.9), seconds=1.0)
    fired = []
    for rate in (16_000, 48_000):
        path = wav(tmp_path, np.repeat(loud, rate // 16_000), rate)
        assert main(Listen((path,), model=model)) == 0
        out = capsys.readouterr().out
        assert ("48000 Hz was resampled" in out) is (rate == 48_000)
        fired.append(float(re.search(r"fired at (\d+\.\d) ms", out)[1]))
    assert abs(fired[0] - fired[1]) <= 20


def test_seconds_end_a_long_recording(tmp_path, model, capsys):
    path = wav(tmp_path, recording(seconds=5.0))
    assert main(Listen((path,), model=model, seconds=2)) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4


@pytest.mark.parametrize("n", [100, 1_000, 16_000, 50_000])
def test_limited_yields_these_seconds_exactly(n):
    samples = np.arange(50_000, dtype=np.float32)
    found = np.concatenate(list(limited(pieces(samples, n), 2)))
    np.testing.assert_array_equal(found, samples[:32_000])
    assert np.concatenate(list(limited(pieces(samples, n), None))).shape == samples.shape


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "Name recordings, or pass --microphone"),
        ({"clips": (Path("a.wav"),), "microphone": True}, "one of the two"),
        ({"microphone": True, "theta": 1.0}, "theta must be in"),
        ({"microphone": True, "seconds": 0}, "seconds must be at least 1"),
    ],
)
def test_options_that_say_nothing_or_too_much_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Listen(**options)


def test_a_network_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(ValueError, match="no network or file 'none'"):
        main(Listen((tmp_path / "a.wav",), model="none"))


# The microphone


class PortAudioError(Exception):
    pass


@pytest.fixture
def device(monkeypatch):
    """A package sounddevice whose microphone plays a recording, then the user ends the program."""
    samples = recording((0.4, 0.9), seconds=2.0)
    module = types.ModuleType("sounddevice")
    module.PortAudioError = PortAudioError
    module.opened = []

    class InputStream:
        def __init__(self, **options: object) -> None:
            module.opened.append(options)
            self.at = 0

        def __enter__(self):
            return self

        def __exit__(self, *_: object) -> None:
            module.opened.append("closed")

        def read(self, n: int):
            if self.at >= len(samples):
                raise KeyboardInterrupt
            self.at += n
            return samples[self.at - n : self.at, None], self.at == 800

    module.InputStream = InputStream
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    return module


def test_the_microphone_is_heard_second_by_second_until_the_user_ends_it(device, model, capsys):
    assert main(Listen(microphone=True, model=model)) == 0
    printed = capsys.readouterr()
    _, _, loud, quiet = printed.out.rstrip().splitlines()
    assert loud.startswith("  yes, p = ")
    assert "no keyword fired by 2000 ms" in quiet
    assert printed.err.count("samples were lost") == 1
    options, closed = device.opened
    assert options == {"blocksize": 160, "samplerate": 16_000, "channels": 1, "dtype": "float32"}
    assert closed == "closed"


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(ValueError, match=r"pip install 'rc_snn\[microphone\]'"):
        next(microphone())


def test_without_the_library_beneath_the_error_says_what_to_install(monkeypatch, tmp_path):
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"\(PortAudio library not found\).*libportaudio2"):
        next(microphone())


def test_without_a_device_the_error_says_so(device):
    def no_device(**_: object) -> None:
        raise PortAudioError("Error querying device -1")

    device.InputStream = no_device
    with pytest.raises(ValueError, match=r"No microphone can be opened \(Error querying device -1"):
        next(microphone())


# The program


def program(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    """Run the program; return what it ends with."""
    monkeypatch.setattr(sys, "argv", ["listen", *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(listen.__file__, run_name="__main__")
    return ended.value.code


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Name recordings, or pass --microphone: one of the two."),
        (["a.wav", "--theta", "2"], "theta must be in (0, 1), got 2.0"),
    ],
)
def test_a_wrong_command_line_is_explained(monkeypatch, capsys, arguments, message):
    assert program(monkeypatch, *arguments) == 2
    assert message in capsys.readouterr().err


def test_the_program_ends_with_one_line_and_not_with_a_traceback(monkeypatch, capsys):
    assert program(monkeypatch, "a.wav", "--model", "none") == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: There is no network or file 'none'")


def test_the_program_hears_what_its_command_line_names(monkeypatch, tmp_path, model, capsys):
    paths = [str(wav(tmp_path, recording(seconds=1.0), name=f"{i}.wav")) for i in range(2)]
    assert program(monkeypatch, *paths, "--model", model, "--theta", "0.8") == 0
    out = capsys.readouterr().out
    assert out.startswith("loud, theta = 0.8")
    assert all(path in out for path in paths)
