"""A network says when spikes look like those of the other polarity, and never of its own."""

import warnings

import pytest
import torch

from encoders.functional import encode, encode_latency
from encoders.mnist import embedded_digits
from rc_snn.models import RCLSTM
from rc_snn.network import Network, load, names
from rc_snn.sequences import DenseSequences, SpikeSequences
from rc_snn.spikes import spike_frames, spike_steps

IMAGES = embedded_digits().test.images
OTHER = {"dark_first": "bright_first", "bright_first": "dark_first"}


def small(polarity: str | None, n_steps: int = 10) -> Network:
    encoder = {} if polarity is None else {"name": "latency", "polarity": polarity}
    return Network(name="small", model=RCLSTM(784, 4, 10), n_steps=n_steps, encoder=encoder)


@pytest.mark.parametrize("polarity", OTHER)
@pytest.mark.parametrize("zero_pixels", ["last", "silent"])
@pytest.mark.parametrize(
    "n_steps", [10, *(pytest.param(x, marks=pytest.mark.slow) for x in (2, 40))]
)
def test_every_single_image_is_known_by_its_first_and_last_spikes(polarity, zero_pixels, n_steps):
    net, other = small(polarity, n_steps), small(OTHER[polarity], n_steps)
    times = encode_latency(IMAGES[:12], polarity=polarity, zero_pixels=zero_pixels)
    for one in times.split(1):
        steps = spike_steps(one, n_steps)
        mean = torch.rand(n_steps, 784, generator=torch.Generator().manual_seed(0))
        for inputs in (
            one,
            SpikeSequences(steps, n_steps),
            SpikeSequences(steps, n_steps, mean=mean),
            DenseSequences(spike_frames(steps, n_steps)),
        ):
            net.decide(inputs)  # warnings are errors
            with pytest.warns(
                UserWarning, match=f"trained on {OTHER[polarity]} spikes.*{polarity}"
            ):
                other.decide(inputs)


@pytest.mark.parametrize("name", names())
def test_no_network_that_ships_warns_of_its_own_spikes(name):
    net = load(name)
    if net.reads == "times":
        net.decide(encode(IMAGES[:50], **net.encoder))


def test_it_warns_once_per_call():
    net, times = load("rc-lstm-340-fast"), encode_latency(IMAGES, polarity="bright_first")
    for inputs in (times, SpikeSequences(spike_steps(times, 10), 10)):
        with pytest.warns(UserWarning, match="load a network of that polarity") as said:
            net.decide(inputs)
        assert len(said) == 1


def test_spikes_that_look_like_neither_and_networks_that_name_no_polarity_are_left_alone():
    g = torch.Generator().manual_seed(0)
    bright = encode_latency(IMAGES[:20], polarity="bright_first")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small(None).decide(bright)
        for polarity in OTHER:
            small(polarity).decide(torch.rand(20, 784, generator=g, dtype=torch.float64))
            for blank in (0.0, 1.0, torch.inf):
                small(polarity).decide(torch.full((3, 784), blank))
