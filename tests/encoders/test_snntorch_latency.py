"""snnTorch's latency codes beside ours: what docs/LATENCY.md says is measured here."""

from pathlib import Path

import pytest
import torch
from snntorch import spikegen
from torch import Tensor

from encoders.functional import encode_latency, steps_to_times
from encoders.mnist import MNIST_TITLE, Split, embedded_digits, load_mnist
from encoders.snntorch_latency import from_snntorch_latency
from rc_snn.network import load
from rc_snn.spikes import spike_steps

DOC = (Path(__file__).parents[2] / "docs" / "LATENCY.md").read_text()
CODES = {"linear": True, "logarithmic": False}
GREYS = (0, 1, 2, 3, 4, 8, 26, 51, 102, 128, 204, 230, 254, 255)
NETWORKS = ("rc-lstm-340-fast-bright", "rc-lstm-340-slow-bright", "lif-snntorch", "rc-lif-snntorch")


def theirs(images: Tensor, n_steps: int, linear: bool) -> Tensor:
    """Spike times of snnTorch's code, some images at a time; normalised, as its tutorials have it.

    A black pixel somewhere in them sets the scale of the logarithmic code.
    """
    grey = images.flatten(1).float() / 255
    options = {"num_steps": n_steps, "normalize": True, "linear": linear}
    parts = [spikegen.latency(part, **options) for part in grey.split(500)]
    return torch.cat([from_snntorch_latency(part) for part in parts])


def mnist() -> Split:
    digits = load_mnist(download=False)
    if digits.title != MNIST_TITLE:
        pytest.skip("MNIST is not at hand")
    return digits.test


def levels(code: Tensor) -> str:
    return " | ".join(str(int(code[grey])) for grey in GREYS)


def test_the_table_of_grey_levels_is_what_both_libraries_do():
    images = torch.arange(256, dtype=torch.uint8).view(1, 16, 16)
    assert f"| grey level | {' | '.join(map(str, GREYS))} |" in DOC
    assert f"| `encode_latency` | {levels(spike_steps(encode_latency(images), 10)[0])} |" in DOC
    for name, linear in CODES.items():
        code = spike_steps(theirs(images, 10, linear), 10)[0]
        assert f"| snnTorch, {name} | {levels(code)} |" in DOC


@pytest.mark.slow
@pytest.mark.parametrize("n_steps", [10, 40])
@pytest.mark.parametrize("name", CODES)
def test_the_table_of_ink_pixels_is_what_mnist_says(name, n_steps):
    images = mnist().images
    ours = spike_steps(encode_latency(images), n_steps)
    code = spike_steps(theirs(images, n_steps, CODES[name]), n_steps)
    ink = images.flatten(1) > 0
    assert torch.equal(ours[~ink], code[~ink]), "the ground spikes at the last step in both"
    later = (code - ours)[ink].double()
    shares = [(100 * (later.abs() == k).double().mean()).item() for k in (0, 1)]
    most = int(later.abs().max())
    assert (
        f"| {name}, T = {n_steps} | {shares[0]:.1f} % | {shares[1]:.1f} % | {most} | "
        f"{later.mean():+.3f} |"
    ) in DOC


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_the_table_of_networks_is_what_they_decide_on_mnist(name):
    test, net = mnist(), load(name)
    cells = []
    for times in (
        encode_latency(test.images),
        *(theirs(test.images, 10, x) for x in (True, False)),
    ):
        decision = net.decide(times)
        right = 100 * (decision.label == test.labels).double().mean().item()
        cells.append(f"{right:.2f} % at {decision.step.double().mean().item():.2f}")
    assert f"| `{name}` | {' | '.join(cells)} |" in DOC


@pytest.mark.parametrize("linear", CODES.values())
def test_spikes_and_times_of_snntorch_are_the_same(linear):
    grey = embedded_digits().test.images[:20].float() / 255
    options = {"num_steps": 12, "normalize": True, "linear": linear}
    times, _ = spikegen.latency_code(grey, **options)
    from_spikes = from_snntorch_latency(spikegen.latency(grey, **options))
    assert torch.equal(from_snntorch_latency(times, 12), from_spikes)
    clipped = from_snntorch_latency(spikegen.latency(grey, clip=True, **options))
    ink = (grey >= 0.01).flatten(1)
    assert torch.equal(clipped[ink], from_spikes[ink])
    assert clipped[~ink].isposinf().all()


def test_a_spike_of_step_s_is_a_spike_of_step_s():
    steps = torch.randint(0, 11, (5, 3, 4), generator=torch.Generator().manual_seed(0))
    spikes = torch.stack([(steps == t).float() for t in range(10)])
    assert torch.equal(from_snntorch_latency(spikes), steps_to_times(steps.flatten(1), 10))
    assert torch.equal(from_snntorch_latency(steps.float(), 10), from_snntorch_latency(spikes))


def test_what_is_no_latency_code_is_refused():
    with pytest.raises(ValueError, match="units spike more than once"):
        from_snntorch_latency(torch.ones(3, 1, 2))
    with pytest.raises(ValueError, match=r"\[time, batch, \*shape\], got \[2, 3\]"):
        from_snntorch_latency(torch.zeros(2, 3))
    for wrong in (-1.0, torch.nan):
        with pytest.raises(ValueError, match="must be >= 0"):
            from_snntorch_latency(torch.full((1, 2), wrong), n_steps=4)
