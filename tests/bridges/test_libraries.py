"""Libraries that take spike tensors: their identity layers, their traps, and their own figures."""

import importlib.util
import os
import subprocess
import sys

import norse.torch
import numpy as np
import pytest
import snntorch
import torch
from snntorch.functional import ce_temporal_loss, mse_temporal_loss
from snntorch.functional.acc import accuracy_temporal

from bridges.errors import BridgeError
from bridges.stream.stream import SpikeStream
from bridges.targets import norse as norse_bridge
from bridges.targets import rockpool, sinabs, spikingjelly
from bridges.targets import snntorch as snntorch_bridge
from encoders import embedded_digits
from encoders.functional import encode
from rc_snn import load
from rc_snn.spikes import Decision


def installed(bridge):
    reason = bridge.TARGET.missing()
    return pytest.mark.skipif(reason is not None, reason=str(reason))


def random_stream(share: float = 0.4) -> SpikeStream:
    """Spikes in rows, first and last steps included: what a layer with memory would spoil."""
    z = (torch.rand(50, 3, 20, generator=torch.Generator().manual_seed(0)) < share).float()
    z[0] = z[-1] = 1.0
    return SpikeStream.from_tensor(z, dt_s=1e-3)


# ---- what snnTorch computes of our decisions ----------------------------------------------------


@pytest.fixture(scope="module")
def answers() -> tuple[Decision, torch.Tensor, SpikeStream, int]:
    """Decisions of a network that ships on the 1,000 embedded test digits, for snnTorch.

    The network was trained on images of the same set: these figures check a program, not it.
    """
    net = load("rc-lstm-340-slow")
    digits = embedded_digits().test
    decision = net.decide(encode(digits.images, **net.encoder))
    stream = SpikeStream.from_decision(
        decision, net.n_steps + 1, n_classes=10, dt_s=1e-3, forced="spike"
    )
    return decision, digits.labels, stream, net.n_steps


def test_the_decisions_tell_the_figures_apart(answers):
    decision, labels, stream, n_steps = answers
    assert len(decision) == stream.n_spikes == 1000
    assert len(decision.step.unique()) > 5
    assert int(decision.step.max()) == n_steps - 1
    assert 0 < int((decision.label != labels).sum())
    assert 0 < int((~decision.fired).sum())


def test_snntorchs_accuracy_is_that_of_our_decisions(answers):
    decision, labels, stream, _ = answers
    ours = sum(int(a == b) for a, b in zip(decision.label.tolist(), labels.tolist(), strict=True))
    got = accuracy_temporal(snntorch_bridge.spk_rec(stream), labels)
    assert got == pytest.approx(ours / 1000, abs=1e-12)


def test_snntorchs_temporal_cross_entropy_is_ours(answers):
    """By definition: -log of the softmax of the negated first steps, silence at the last, T."""
    decision, labels, stream, n_steps = answers
    total = 0.0
    for step, label, right in zip(decision.step.tolist(), decision.label, labels, strict=True):
        earlier = np.exp(-float(step)) + 9 * np.exp(-float(n_steps))
        at = float(step) if label == right else float(n_steps)
        total += at + np.log(earlier)
    got = ce_temporal_loss()(snntorch_bridge.spk_rec(stream), labels)
    # snnTorch computes each sample in float32, from times of up to T.
    assert float(got) == pytest.approx(total / 1000, abs=n_steps * 2.0**-23)


def test_snntorchs_temporal_mean_square_error_is_ours(answers):
    """By definition: the right class should spike at step 0, all others at the last, T."""
    decision, labels, stream, n_steps = answers
    total = 0
    for step, label, right in zip(decision.step.tolist(), decision.label, labels, strict=True):
        if label == right:
            total += step**2  # the others are silent, which is right
        else:
            total += n_steps**2 + (n_steps - step) ** 2
    target = torch.full((1000, 10), float(n_steps))
    target[range(1000), labels] = 0.0
    loss = mse_temporal_loss(target_is_time=True)
    got = loss(snntorch_bridge.spk_rec(stream), target)
    assert float(got) == pytest.approx(total / 10_000 / (n_steps + 1) ** 2, rel=2e-6)


def test_snntorchs_temporal_mean_square_error_does_not_read_labels(answers):
    """The trap that spk_rec names: without times, the target of every neuron is step 0."""
    _, labels, stream, _ = answers
    z = snntorch_bridge.spk_rec(stream)
    wrong = (labels + 1) % 10
    at_once = mse_temporal_loss(target_is_time=True)(z, torch.zeros(1000, 10))
    assert float(mse_temporal_loss()(z, labels)) == float(mse_temporal_loss()(z, wrong))
    assert float(mse_temporal_loss()(z, labels)) == float(at_once)


def test_norses_decoder_reads_our_times_in_seconds(answers):
    """Forward only: its gradient fails as soon as one neuron is silent."""
    decision, _, stream, _ = answers
    z = norse_bridge.spikes(stream)
    times = norse.torch.SpikesToTimesDecoder(dt=stream.dt_s)(z)[0]
    expected = stream.to_times() * stream.duration_s
    torch.testing.assert_close(times.double(), expected, rtol=1e-6, atol=0.0)
    assert int(torch.isfinite(times).sum()) == len(decision)
    some = z[:, :2].clone().requires_grad_()
    decoded = norse.torch.SpikesToTimesDecoder(dt=stream.dt_s)(some)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        decoded[torch.isfinite(decoded)].sum().backward()


# ---- the identity layers, and why others are none -----------------------------------------------

TENSORS = [
    pytest.param(snntorch_bridge, marks=installed(snntorch_bridge), id="snntorch"),
    pytest.param(norse_bridge, marks=installed(norse_bridge), id="norse"),
    pytest.param(spikingjelly, marks=installed(spikingjelly), id="spikingjelly"),
    pytest.param(rockpool, marks=installed(rockpool), id="rockpool"),
]


@pytest.mark.parametrize("bridge", TENSORS)
@pytest.mark.parametrize("share", [0.0, 0.1, 0.9, 1.0])
def test_any_spikes_come_out_of_the_identity_layer_as_they_went_in(bridge, share):
    sent = random_stream(share)
    assert sent.same_spikes(bridge.round_trip(sent))


@pytest.mark.parametrize("bridge", TENSORS)
def test_a_round_trip_shows_what_the_layer_did_and_not_what_it_was_given(bridge, monkeypatch):
    """A layer that answers otherwise must change what comes back."""
    sent, relay = random_stream(), bridge.relay

    def deaf(*sizes):
        layer = relay(*sizes)
        if bridge is rockpool:
            layer.threshold = 10.0
        elif bridge is norse_bridge:
            layer.p = layer.p._replace(v_th=torch.tensor(10.0))
        elif bridge is spikingjelly:
            layer.v_threshold = 10.0
        else:
            layer.threshold = torch.tensor(10.0)
        return layer

    monkeypatch.setattr(bridge, "relay", deaf)
    assert bridge.round_trip(sent).n_spikes < sent.n_spikes / 2


def test_snntorchs_defaults_would_lose_spikes():
    """At threshold 1 an input of 1 never fires; the delayed reset swallows a second spike."""
    z = torch.ones(4, 1, 1)
    for leaky, expected in [
        (snntorch.Leaky(0.0), [0.0, 0.0, 0.0, 0.0]),
        (snntorch.Leaky(0.0, threshold=0.5), [1.0, 0.0, 1.0, 0.0]),
        (snntorch_bridge.relay(), [1.0, 1.0, 1.0, 1.0]),
    ]:
        mem, got = None, []
        for x in z:
            spk, mem = leaky(x, mem)
            got.append(float(spk.detach()))
        assert got == expected


def test_norses_defaults_would_lose_every_spike():
    for layer in (norse.torch.IAF(), norse.torch.LIF()):
        assert layer(torch.ones(4, 1, 1))[0][0].count_nonzero() == 0


def test_the_relay_of_norse_leaves_norses_own_defaults_alone():
    """An IAF layer marks its reset potential for a gradient, by default one tensor for all."""
    shared = norse.torch.IAFParameters().v_reset.requires_grad_(False)
    norse_bridge.round_trip(random_stream())
    assert not shared.requires_grad
    norse.torch.IAF()(torch.ones(1, 1, 1))
    assert shared.requires_grad


def every_second(stream: SpikeStream) -> SpikeStream:
    """The second, fourth, ... spike of each unit: what integrators of half a threshold answer."""
    z = stream.to_tensor()
    return SpikeStream.from_tensor(z * (z.cumsum(0) % 2 == 0), stream.dt_s)


# A relay answers each value alone, and would hide that an axis is taken for another one.


def test_snntorch_norse_and_spikingjelly_read_our_first_axis_as_time():
    sent = random_stream()
    z = 0.5 * snntorch_bridge.spk_rec(sent)
    leaky, mem, got = snntorch.Leaky(1.0, threshold=0.99), torch.zeros(3, 20), []
    for x in z:
        spk, mem = leaky(x, mem)
        got.append(spk.detach())
    assert every_second(sent).same_spikes(snntorch_bridge.from_spk_rec(torch.stack(got), 1e-3))
    iaf = norse.torch.IAF(norse.torch.IAFParameters(v_th=torch.tensor(0.99)))
    got, _ = iaf(0.5 * norse_bridge.spikes(sent))
    assert every_second(sent).same_spikes(norse_bridge.from_spikes(got, sent.dt_s))


@installed(spikingjelly)
def test_spikingjelly_reads_our_first_axis_as_time_in_multi_step_mode_only():
    from spikingjelly.activation_based import neuron

    sent, relay = random_stream(), spikingjelly.relay()
    half = 0.5 * spikingjelly.x_seq(sent)
    got = spikingjelly.from_s_seq(relay(half), sent.dt_s)
    assert every_second(sent).same_spikes(got)
    assert neuron.IFNode(step_mode="s")(half).sum() == 0  # one step of 50 × 3 samples


@installed(rockpool)
def test_rockpool_reads_our_seconds_as_time():
    from rockpool.nn.modules import LIF, TimedModuleWrapper

    sent = random_stream()
    left = np.exp(-20.0)
    constants = {"tau_mem": 1e9, "tau_syn": sent.dt_s / 20, "threshold": 1.99 * left}
    back = []
    for series in rockpool.ts_events(sent):
        layer = TimedModuleWrapper(LIF(20, **constants, dt=sent.dt_s, spiking_input=True))
        back.append(layer(series, num_timesteps=sent.n_steps)[0])
    assert every_second(sent).same_spikes(rockpool.from_ts_events(back, sent))


def test_what_is_no_spike_is_refused():
    for read in (
        snntorch_bridge.from_spk_rec,
        norse_bridge.from_spikes,
        spikingjelly.from_s_seq,
    ):
        with pytest.raises(ValueError, match="only 0 and 1"):
            read(torch.full((2, 1, 1), 0.5), dt_s=1e-3)
    for bad in (0.5, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="counts of spikes"):
            sinabs.from_raster(torch.full((1, 2, 1), bad), dt_s=1e-3)


# ---- sinabs: counts, batch first ----------------------------------------------------------------


def test_a_raster_of_sinabs_is_batch_first_and_keeps_the_units_shape():
    z = (torch.rand(7, 2, 1, 3, 4, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    stream = SpikeStream.from_tensor(z, dt_s=1e-3)
    raster = sinabs.raster(stream)
    assert torch.equal(raster, z.transpose(0, 1))
    back = sinabs.from_raster(raster, stream.dt_s)
    assert back.same_spikes(stream)
    assert back.shape == stream.shape


def test_without_sinabs_the_remedy_is_named(monkeypatch):
    if importlib.util.find_spec("sinabs") is not None:
        pytest.skip("sinabs is installed here")
    monkeypatch.delenv("RC_SNN_SINABS_PYTHON", raising=False)
    with pytest.raises(ImportError, match="RC_SNN_SINABS_PYTHON"):
        sinabs.round_trip(random_stream())
    monkeypatch.setenv("RC_SNN_SINABS_PYTHON", sys.executable)  # which has none
    with pytest.raises(BridgeError, match="No module named 'sinabs'"):
        sinabs.round_trip(random_stream())


@installed(sinabs)
def test_sinabs_reads_our_second_axis_as_time_and_keeps_its_state_from_batch_to_batch(tmp_path):
    """The state is why its docstring says to reset, and why a round trip makes its own layer."""
    code = (
        "import numpy as np, torch, sinabs.layers\n"
        "half = torch.from_numpy(np.load('raster.npy')) / 2\n"
        "layer = sinabs.layers.IAF()\n"
        "with torch.no_grad():\n"
        "    first, second = layer(half).numpy(), layer(half).numpy()\n"
        "    layer.reset_states()\n"
        "    third = layer(half).numpy()\n"
        "np.save('out.npy', [first, second, third])\n"
    )
    sent = random_stream()
    np.save(tmp_path / "raster.npy", sinabs.raster(sent).numpy())
    python = os.environ["RC_SNN_SINABS_PYTHON"]
    subprocess.run([python, "-c", code], cwd=tmp_path, check=True, capture_output=True)
    out = torch.from_numpy(np.load(tmp_path / "out.npy"))
    first, second, third = (sinabs.from_raster(raster, sent.dt_s) for raster in out)
    assert every_second(sent).same_spikes(first)
    assert not first.same_spikes(second)
    assert first.same_spikes(third)


# ---- Rockpool: events in seconds ----------------------------------------------------------------


@installed(rockpool)
@pytest.mark.parametrize("dt_s", [1e-7, 1e-4, 1e-3, 0.1, 1.0, 1 / 3])
def test_the_raster_of_our_events_has_every_spike_on_its_tick(dt_s):
    """2,000 ticks; Rockpool's raster is the independent reader."""
    n_steps = 2000
    empty = SpikeStream.silent(1, 2, n_steps, dt_s)
    stream = empty.with_spikes(np.zeros(n_steps, int), np.arange(n_steps), np.arange(n_steps) % 2)
    raster = rockpool.ts_events(stream)[0].raster(dt_s)
    tick, unit = np.nonzero(raster[:n_steps])
    assert np.array_equal(tick, stream.ticks)
    assert np.array_equal(unit, stream.units)
    assert not raster[n_steps:].any()


@installed(rockpool)
def test_rockpool_floors_what_lies_at_the_start_of_a_tick():
    """The trap that half a tick avoids, and the row too many that our docstring warns of."""
    from rockpool.timeseries import TSEvent

    ticks = np.arange(2000)
    times = ticks * 1e-4
    series = TSEvent(times, np.zeros(2000, int), t_start=0.0, t_stop=0.2, num_channels=1)
    assert (series.raster(1e-4, add_events=True) != 1).any()
    assert TSEvent(t_start=0.0, t_stop=3 * 0.1, num_channels=1).raster(0.1).shape == (4, 1)


@installed(rockpool)
def test_rockpools_own_events_are_read_from_both_places_in_a_tick():
    from rockpool.timeseries import TSEvent

    sent = random_stream().take([0])
    raster = sent.to_tensor()[:, 0].numpy()
    for start in (False, True):
        series = TSEvent.from_raster(raster, dt=sent.dt_s, spikes_at_bin_start=start)
        read = rockpool.from_ts_events([series], sent, spikes_at_bin_start=start)
        assert read.same_spikes(sent)
        with pytest.raises(BridgeError, match="on no tick"):
            rockpool.from_ts_events([series], sent, spikes_at_bin_start=not start)
    with pytest.raises(ValueError, match="one series for each of 1"):
        rockpool.from_ts_events([], sent)


@installed(rockpool)
@pytest.mark.parametrize("n", [2, 77, rockpool.MOST_PER_TICK])
def test_rockpool_counts_spikes_in_one_tick_and_refuses_too_many(n):
    def burst(size: int) -> SpikeStream:
        ticks = np.repeat([0, 1, 2, 4], [size, 1, size, size])
        return SpikeStream.silent(1, 1, 5, 1e-3).with_spikes(0 * ticks, ticks, 0 * ticks)

    assert burst(n).same_spikes(rockpool.round_trip(burst(n)))
    with pytest.raises(BridgeError, match="holds 500 spikes per unit and tick; 3 spikes"):
        rockpool.round_trip(burst(rockpool.MOST_PER_TICK + 1))
