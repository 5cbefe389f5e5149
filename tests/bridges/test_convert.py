"""The command line from a network or a stream file to a target."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from bridges import convert, support
from bridges.convert import Convert, main
from bridges.errors import BridgeError
from bridges.stream import file as stream_file
from bridges.stream.stream import SpikeStream
from encoders import embedded_digits, encode_latency
from rc_snn import Network, load
from rc_snn.commands import made_by
from rc_snn.models import RCLSTM
from rc_snn.spikes import decision_spikes, spike_frames, spike_steps


@pytest.fixture(autouse=True)
def _digits(monkeypatch):
    """Answer the embedded digits, wherever the test runs."""
    monkeypatch.setattr(convert, "load_mnist", lambda data=None: embedded_digits())


@pytest.fixture
def network() -> Network:
    return load("rc-lstm-340-fast")


def needs(name: str) -> None:
    if reason := support.bridge(name).TARGET.missing():
        pytest.skip(reason)


def test_answers_of_a_network_become_a_script_and_its_spikes(network, tmp_path):
    out = tmp_path / "answers.py"
    said = main(Convert("rc-lstm-340-fast", "brian2", out, samples=30, dt=5e-3))
    stream = stream_file.load(tmp_path / "answers.npz")
    digits = embedded_digits().test
    times = encode_latency(digits.images[:30], **network.encoder)
    decision = network.decide(times)
    assert torch.equal(stream.to_decision().label, decision.label)
    assert torch.equal(stream.to_decision().step, decision.step)
    assert stream.samples["label"].tolist() == digits.labels[:30].tolist()
    assert (stream.dt_s, stream.metadata["network"]) == (5e-3, "rc-lstm-340-fast")
    assert f"{stream.n_spikes} spikes of 30 samples" in said


def test_the_script_runs_where_the_target_is(tmp_path):
    needs("brian2")
    main(Convert("rc-lstm-340-fast", "brian2", tmp_path / "answers.py"))
    command = [sys.executable, "-W", "ignore", "answers.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "every spike on its tick" in done.stdout


def test_a_script_says_so_when_a_spike_is_lost(tmp_path):
    """The script's verdict is no phrase: spikes that it does not send are missed."""
    needs("brian2")
    main(Convert("rc-lstm-340-fast", "brian2", tmp_path / "answers.py"))
    text = (tmp_path / "answers.py").read_text()
    assert text.count("spikes.ticks * dt") == 1
    late = text.replace("spikes.ticks * dt", "(spikes.ticks + 1) * dt")
    (tmp_path / "answers.py").write_text(late)
    command = [sys.executable, "-W", "ignore", "answers.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert "NOT the same" in done.stdout


def test_inputs_are_the_spikes_that_the_network_sees(network, tmp_path):
    main(Convert("rc-lstm-340-fast", "nir", tmp_path / "x.h5", spikes="inputs", samples=3))
    stream = support.bridge("nir").from_file(tmp_path / "x.h5", dt_s=1e-3)
    times = encode_latency(embedded_digits().test.images[:3], **network.encoder)
    frames = spike_frames(spike_steps(times, network.n_steps), network.n_steps)
    assert torch.equal(stream.to_tensor(), frames)


def test_answers_in_continuous_time_are_on_the_tick_before(tmp_path):
    out = tmp_path / "a.py"
    main(Convert("rel-psp-340-slow", "brian2", out, steps=100, samples=10))
    stream = stream_file.load(tmp_path / "a.npz")
    net = load("rel-psp-340-slow")
    images = embedded_digits().test.images[:10]
    decision = net.decide(encode_latency(images, zero_pixels="silent"))
    times, label = stream.to_times(steps_per_frame=100).min(dim=1)
    fired = decision.fired
    assert fired.any()
    assert torch.equal(torch.isfinite(times), fired)
    assert torch.equal(label[fired], decision.label[fired])
    late = decision.time[fired].double() - times[fired]
    assert bool(((late >= 0) & (late < 0.01 + 1e-9)).all())


def test_a_stream_file_goes_whole_unless_samples_are_asked_for(tmp_path):
    sent = support.sample_stream()
    stream_file.save(sent, tmp_path / "in.h5")
    nir = support.bridge("nir")
    main(Convert(str(tmp_path / "in.h5"), "nir", tmp_path / "all.h5"))
    assert sent.same_spikes(nir.from_file(tmp_path / "all.h5", sent.dt_s))
    main(Convert(str(tmp_path / "in.h5"), "nir", tmp_path / "one.h5", samples=1, dt=0.1))
    one = nir.from_file(tmp_path / "one.h5", 0.1)
    assert np.array_equal(one.ticks, sent.take([0]).ticks)


def test_a_network_becomes_a_graph_and_its_hidden_states(tmp_path):
    nir = pytest.importorskip("nir", reason="NIR is not installed")
    out = tmp_path / "ro.nir"
    main(Convert("rc-lstm-340-fast", "nir", out, spikes="model", samples=4))
    assert "decision" in nir.read(out).nodes
    data = nir.read_data(tmp_path / "ro_hidden.h5").nodes["input"].observables["h_and_log_z"]
    assert data.shape == (4, 10, 341)
    main(Convert("rel-psp-340-slow", "nir", tmp_path / "rel.nir", spikes="model"))
    assert "current_0" in nir.read(tmp_path / "rel.nir").nodes


@pytest.mark.parametrize(
    ("source", "to", "spikes", "message"),
    [
        ("no-such-network", "nir", "answers", "neither a stream file"),
        ("lif-norse", "nir", "model", "lif-norse is a TTFSLIF"),
        ("conv-rel-psp-slow-augmented", "nir", "model", "pools by the earliest spike"),
        ("rc-lstm-340-fast", "brian2", "model", "goes to NIR only"),
    ],
)
def test_what_cannot_be_is_refused(source, to, spikes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        main(Convert(source, to, tmp_path / "out.h5", spikes=spikes))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dt": 0.0}, "dt_s must be positive"),
        ({"dt": -1.0}, "dt_s must be positive"),
        ({"samples": 0}, "samples must be at least 1"),
        ({"steps": 0}, "steps_per_frame must be in 1"),
    ],
)
def test_nonsense_is_refused(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        main(Convert("rel-psp-340-slow", "nir", tmp_path / "out.h5", **options))
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten_and_never_the_input(tmp_path):
    stream_file.save(support.sample_stream(), tmp_path / "in.npz")
    before = (tmp_path / "in.npz").read_bytes()
    with pytest.raises(ValueError, match="is the input"):
        main(Convert(str(tmp_path / "in.npz"), "brian2", tmp_path / "in.py", force=True))
    (tmp_path / "out.h5").write_text("mine")
    with pytest.raises(ValueError, match=r"exists.*--force"):
        main(Convert(str(tmp_path / "in.npz"), "nir", tmp_path / "out.h5"))
    assert (tmp_path / "out.h5").read_text() == "mine"
    main(Convert(str(tmp_path / "in.npz"), "nir", tmp_path / "out.h5", force=True))
    assert (tmp_path / "in.npz").read_bytes() == before


def test_what_a_target_cannot_carry_ends_with_the_reason(tmp_path, monkeypatch):
    twice = support.sample_stream().with_spikes([0, 0], [3, 3], [1, 1])
    stream_file.save(twice, tmp_path / "in.h5")
    with pytest.raises(BridgeError, match="one spike per unit and tick"):
        main(Convert(str(tmp_path / "in.h5"), "brian2", tmp_path / "out.py"))
    assert not (tmp_path / "out.py").exists()


# -- Networks of others -------------------------------------------------------------------------


def mine(n_inputs: int = 784, **changed) -> Network:
    model = RCLSTM(n_inputs, 5, 10, generator=torch.Generator().manual_seed(0))
    return Network(**({"name": "my", "model": model, "theta": 0.15, "n_steps": 10} | changed))


@pytest.fixture
def theirs(monkeypatch):
    """A module of somebody else, whose factories return what they hold."""
    module = type(sys)("theirs")
    monkeypatch.setitem(sys.modules, "theirs", module)
    made_by.cache_clear()
    return module


def test_a_file_of_ones_own_goes_where_no_output_is_named_and_as_the_network_decides(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    dark = {"polarity": "dark_first", "zero_pixels": "silent"}
    for net in (mine(), mine(encoder=dark)):
        net.save("my.safetensors")
        main(Convert("my.safetensors", "brian2", samples=12, force=True))
        stream = stream_file.load(tmp_path / "my_brian2.npz")
        times = encode_latency(embedded_digits().test.images[:12], **net.encoder)
        decision = net.decide(times)
        assert torch.equal(stream.to_tensor(), decision_spikes(decision, 10, 10))
    assert (tmp_path / "my_brian2.py").exists()


def test_a_factory_s_network_or_bare_model_is_converted(theirs, tmp_path):
    theirs.net, theirs.model = mine, lambda: mine().model
    answers = {}
    for name in ("net", "model"):
        out = tmp_path / f"{name}.h5"
        main(Convert(to="nir", output=out, model=f"theirs:{name}", samples=5, spikes="inputs"))
        answers[name] = support.bridge("nir").from_file(out, dt_s=1e-3)
    assert answers["net"].same_spikes(answers["model"])
    theirs.nothing = lambda: 3
    with pytest.raises(ValueError, match=r"theirs:nothing makes no network: int is of no family"):
        main(Convert(to="nir", output=tmp_path / "x.h5", model="theirs:nothing"))


def test_what_reads_other_things_is_shown_the_way_through_a_stream_file_and_it_leads_there(
    theirs, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    theirs.small = lambda: mine(n_inputs=20)
    theirs.heard = lambda: mine(reads="sequences", encoder={"name": "log_mel"})
    for name, reads in (("small", "spike times of 20 inputs"), ("heard", "log_mel")):
        for spikes in ("answers", "inputs", "model"):
            with pytest.raises(BridgeError, match=rf"reads {reads}.*SpikeStream.from_decision"):
                main(Convert(to="nir", model=f"theirs:{name}", spikes=spikes))
    times = torch.rand(7, 20, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    decision = mine(n_inputs=20).decide(times)
    stream = SpikeStream.from_decision(decision, 10, 10, 1e-3)
    stream_file.save(stream, "answers.npz")  # as the message says
    main(Convert("answers.npz", "nir"))
    assert stream.same_spikes(support.bridge("nir").from_file("answers_nir.h5", dt_s=1e-3))


def test_one_thing_is_converted_at_a_time(tmp_path):
    for given in ({}, {"input": "rc-lstm-340-fast", "model": "a:b"}):
        with pytest.raises(ValueError, match="Name what to convert"):
            main(Convert(to="nir", output=tmp_path / "a.h5", **given))
