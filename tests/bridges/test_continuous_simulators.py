"""α-PSP and ReL-PSP inside Brian2 and NEST: the closed form's spikes, and their limits."""

import importlib

import pytest
import torch

from baselines.alpha_psp import alpha_psp
from baselines.conv import conv_rel_psp
from baselines.rel_psp import rel_psp
from bridges.errors import BridgeError
from bridges.networks.continuous import Agreement, agreement, layers
from bridges.support import bridge
from encoders import embedded_digits
from encoders.functional import encode
from rc_snn import load


@pytest.fixture(params=["brian2", "nest"])
def simulator(request):
    if reason := bridge(request.param).TARGET.missing():
        pytest.skip(reason)
    return importlib.import_module(f"bridges.networks.{request.param}")


@pytest.fixture(params=["alpha", "rel"])
def network(request, generator):
    if request.param == "alpha":
        return alpha_psp((20, 12, 4), generator=generator, n_pulses=2, pulse_mean=6.0).double()
    return rel_psp((20, 12, 4), generator=generator, gain=2.0).double()


def inputs(generator, n=3):
    """Input spikes off the grid, with ties, silence, a spike at 0 and one at the frame's end."""
    times = torch.rand(n, 20, generator=generator, dtype=torch.float64)
    times[:, 5:8] = torch.inf
    times[0, 0], times[0, 1], times[1, 3] = 0.0, 1.0, times[1, 2]
    return times


def joined(parts, exact, dt, end) -> Agreement:
    return agreement(torch.cat(parts, dim=1), torch.cat(exact, dim=1), dt, end)


def test_first_spikes_are_those_of_the_closed_form(simulator, network, generator):
    times = inputs(generator)
    with torch.no_grad():
        exact = network.spike_times(times)
    found = joined(simulator.spike_times(network, times, dt=5e-3, frames=2.0), exact, 5e-3, 2.0)
    assert found.fired >= 5
    assert found.only_one == 0
    assert found.within == 1.0


def test_nest_finds_the_crossing_itself(network, generator):
    """`iaf_psc_exp_ps` solves for it, so the step does not matter: an outside proof of ours."""
    if reason := bridge("nest").TARGET.missing():
        pytest.skip(reason)
    timing_nest = importlib.import_module("bridges.networks.nest")
    times = inputs(generator)
    with torch.no_grad():
        exact = network.spike_times(times)
    for dt in (0.05, 0.01):
        found = joined(timing_nest.spike_times(network, times, dt=dt), exact, dt, 2.0)
        assert found.only_one == 0
        assert found.largest < 1e-9


@pytest.mark.slow
def test_the_difference_shrinks_with_the_step(simulator, network, generator):
    """On the grid in proportion to dt; within steps at least so."""
    times = inputs(generator)
    with torch.no_grad():
        exact = network.spike_times(times)
    for precise in (True, False):
        medians = [
            joined(
                simulator.spike_times(network, times, dt=dt, frames=1.5, precise=precise),
                exact,
                dt,
                1.5,
            ).median
            for dt in (2e-2, 2e-3)
        ]
        assert medians[1] < max(0.3 * medians[0], 1e-12)


@pytest.mark.parametrize("name", ["alpha-psp-340-fast-published", "rel-psp-340-slow"])
def test_trained_networks_spike_within_one_step_of_the_closed_form(simulator, name):
    """A few real images at dt = 1e-3 frames; results/simulators has 100."""
    net = load(name)
    images = embedded_digits().test.images[:3]
    times = encode(images, **net.encoder)
    model = net.model.double()
    with torch.no_grad():
        exact = model.spike_times(times)
    found = joined(simulator.spike_times(model, times, frames=1.2), exact, 1e-3, 1.2)
    assert found.fired > 10
    assert found.within >= 0.99


def test_silence_stays_silence(simulator, network):
    times = torch.full((2, 20), torch.inf, dtype=torch.float64)
    with torch.no_grad():
        exact = network.spike_times(times)
    found = simulator.spike_times(network, times, dt=1e-2, frames=1.5)
    assert joined(found, exact, 1e-2, 1.5).only_one == 0


def test_samples_do_not_touch_each_other(simulator, network, generator):
    times = inputs(generator)
    whole = simulator.spike_times(network, times, dt=1e-2, frames=1.5)
    alone = simulator.spike_times(network, times[1:2], dt=1e-2, frames=1.5)
    for a, b in zip(whole, alone, strict=True):
        torch.testing.assert_close(a[1:2], b, rtol=0, atol=1e-9)


def test_what_cannot_be_run_is_refused(simulator, network, generator):
    conv = conv_rel_psp((2, 2), (4,), generator=generator)
    with pytest.raises(BridgeError, match="pools by the earliest spike"):
        simulator.spike_times(conv, torch.zeros(1, 784), dt=1e-2)
    with pytest.raises(ValueError, match="batch is empty"):
        simulator.spike_times(network, torch.zeros(0, 20), dt=1e-2)
    with pytest.raises(ValueError, match="dt must be in"):
        simulator.spike_times(network, torch.zeros(1, 20), dt=0.0)


def test_a_pulse_before_the_start_is_refused(network):
    if network.layers[0].pulses is None:
        pytest.skip("ReL-PSP has no pulses")
    with torch.no_grad():
        network.layers[0].pulses[0] = -0.1
    with pytest.raises(BridgeError, match=r"pulse comes at -0\.1"):
        layers(network)


def test_agreement_counts_who_fires_in_one_only_as_a_miss():
    exact = torch.tensor([[0.1, 0.2, torch.inf, 5.0]], dtype=torch.float64)
    ran = torch.tensor([[0.1, torch.inf, 0.3, 0.4]], dtype=torch.float64)
    found = agreement(ran, exact, dt=1e-3, end=1.0)
    assert (found.fired, found.only_one, found.within) == (4, 3, 0.25)
