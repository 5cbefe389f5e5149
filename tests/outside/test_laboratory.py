"""A laboratory outside, installed as a package: its networks, data and row, by public names."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from outside_lab import networks as lab

import benchmarks
import rc_snn
from benchmarks.table1.rows import known_rows
from bridges.stream import SpikeStream
from encoders import embedded_digits, encode_latency
from rc_snn import families

NETWORKS = {
    "snnTorch": lab.leaky,
    "norse": lab.lif,
    "torch's GRU": lab.recurrent,
    "state space": lab.Diagonal,
}
N_STEPS = 10


@pytest.fixture(scope="module", autouse=True)
def _installed(tmp_path_factory):
    """Install the package for these tests, as its users would, in a folder of its own."""
    folder = tmp_path_factory.mktemp("laboratory")
    source = shutil.copytree(Path(__file__).parent, folder / "source")
    here = ("--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--target", "site")
    subprocess.run([sys.executable, "-m", "pip", "install", *here, source], cwd=folder, check=True)
    with pytest.MonkeyPatch.context() as patch:
        site = str(folder / "site")
        patch.syspath_prepend(site)
        patch.setenv("PYTHONPATH", site, prepend=os.pathsep)
        _forget_entry_points()
        yield
    _forget_entry_points()


def _forget_entry_points():
    """Forget what was installed when an earlier test of this session first asked."""
    families.family.cache_clear()
    known_rows.cache_clear()


@pytest.fixture(scope="module")
def digits():
    return embedded_digits()


@pytest.fixture(params=NETWORKS)
def network(request) -> rc_snn.Network:
    lab.seeded()
    name = request.param.replace("'s ", "-").replace(" ", "-")
    return rc_snn.Network(name=name, model=NETWORKS[request.param](), theta=0.2, n_steps=N_STEPS)


def test_a_network_of_any_library_decides_and_is_accounted_for(network, digits):
    times = encode_latency(digits.test.images[:40])
    decision = network.decide(times)
    report = rc_snn.account(
        decision, digits.test.labels[:40], times, n_steps=N_STEPS, cost=network.model.cost()
    )
    assert report.fired + report.forced == report.n == 40
    assert report.synops_ac is not None
    frames = rc_snn.spike_frames(rc_snn.spike_steps(times, N_STEPS), N_STEPS)
    alone = rc_snn.decide(network.model, rc_snn.DenseSequences(frames), 0.2)
    assert torch.equal(alone.step, decision.step)


@pytest.mark.slow
def test_rank_coded_training_teaches_it(network, digits, tmp_path):
    part = torch.randperm(4000, generator=torch.Generator().manual_seed(0))[:1200]
    steps = rc_snn.spike_steps(encode_latency(digits.train.images[part]), N_STEPS)
    data = rc_snn.Labelled(rc_snn.SpikeSequences(steps, N_STEPS), digits.train.labels[part])
    training, held_out = data.rows(torch.arange(1000)), data.rows(torch.arange(1000, 1200))
    config = rc_snn.TrainConfig(epochs=4, batch_size=20, lr=5e-3, beta=0.0, theta=0.6)
    result = rc_snn.train(network.model, training, held_out, config, str(tmp_path))
    accuracy = [row["val_accuracy"] for row in result.history]
    assert max(accuracy) > 0.4, accuracy


def test_its_spikes_go_to_a_simulator(network, digits):
    decision = network.decide(encode_latency(digits.test.images[:20]))
    stream = SpikeStream.from_decision(decision, N_STEPS, 10, dt_s=1e-3)
    assert torch.equal(stream.to_decision().label[decision.fired], decision.label[decision.fired])


def test_its_row_stands_in_the_table(network, digits, tmp_path):
    times = encode_latency(digits.test.images)
    decision = network.decide(times)
    row = benchmarks.score(
        network.name,
        decision,
        digits.test.labels,
        times,
        n_steps=N_STEPS,
        cost=network.model.cost(),
        results=tmp_path,
    )
    accuracy = 100 * float((decision.label == digits.test.labels).double().mean())
    assert f"{accuracy:.2f}" in str(row)
    assert len(list((tmp_path / "table1").glob("*.json"))) == 1


def test_output_spikes_become_decisions_at_the_accuracy_that_snntorch_says(digits):
    import snntorch.functional as functional

    lab.seeded()
    layers = lab.leaky_layers()
    layers[-1] = type(layers[-1])(beta=0.9)
    states, recorded = [None, None], []
    frames = rc_snn.spike_frames(
        rc_snn.spike_steps(encode_latency(digits.test.images[:100]), N_STEPS), N_STEPS
    )
    with torch.no_grad():
        for x in frames:
            hidden, states[0] = _stepped(layers[1], layers[0](3.0 * x), states[0])
            spikes, states[1] = _stepped(layers[3], layers[2](3.0 * hidden), states[1])
            recorded.append(spikes)
    z, labels = torch.stack(recorded), digits.test.labels[:100]
    with pytest.warns(UserWarning, match="several classes have equally many spikes"):
        decision = rc_snn.decisions_from_spikes(z, rule="count")
    theirs = functional.accuracy_rate(z, labels)
    assert float((decision.label == labels).double().mean()) == pytest.approx(float(theirs))


def _stepped(neuron, current, mem):
    return neuron(current, mem if mem is not None else torch.zeros_like(current))


@pytest.mark.slow
def test_data_in_the_forms_of_the_field_train_and_decide(tmp_path):
    from outside_lab.data import Gestures, Spoken

    for sets, n_steps, n_inputs in (
        ([Spoken(240), Spoken(60, seed=1)], 25, 70),
        ([Gestures(80), Gestures(40, seed=1)], 12, 512),
    ):
        training, test = (rc_snn.Labelled.from_dataset(part, n_steps=n_steps) for part in sets)
        n_classes = int(training.labels.max()) + 1
        generator = torch.Generator().manual_seed(0)
        model = rc_snn.RCLSTM(n_inputs, 24, n_classes, dense_input=True, generator=generator)
        config = rc_snn.TrainConfig(epochs=6, batch_size=20, lr=1e-2, beta=0.0, theta=0.6)
        rc_snn.train(model, training, test, config, tmp_path / type(sets[0]).__name__)
        decision = rc_snn.decide(model, test.inputs, theta=0.6)
        assert float((decision.label == test.labels).double().mean()) > 0.8
        assert float(decision.step.double().mean()) < n_steps - 1, "some answer early"


def test_the_command_line_takes_the_labs_network_and_row(tmp_path):
    assert "outside-diagonal" in known_rows(), "by its entry point"
    command = [sys.executable, "-m", "benchmarks.table1", "--results", str(tmp_path)]
    done = subprocess.run(
        [*command, "--model", "outside_lab.networks:network"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "diagonal" in done.stdout


def test_a_saved_network_comes_back_and_is_converted(tmp_path):
    path = lab.network().save(tmp_path / "diagonal.safetensors")
    assert isinstance(rc_snn.load(path).model, lab.Diagonal)
    code = "import outside_lab.networks, sys; from bridges import convert; "
    code += "print(convert.main(convert.Convert(sys.argv[1], 'brian2', __import__('pathlib')"
    code += ".Path(sys.argv[2]), samples=5)))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), str(tmp_path / "answers.py")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert Path(tmp_path / "answers.npz").exists()
