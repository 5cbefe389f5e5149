"""Poisson spike trains: the law that they follow, and that a seed decides them."""

import pytest
import torch
from scipy.stats import binom, chisquare
from tonic.transforms import Compose

from encoders.mnist import embedded_digits
from encoders.poisson import Poisson, PoissonSequences, poisson_sequences
from encoders.temporal_mnist import take

GREYS = torch.tensor([[0, 51, 102, 255]], dtype=torch.uint8)
"""Drives of 0, 0.2, 0.4 and 1."""


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_spike_counts_are_binomial_with_the_grey_level_as_rate():
    n, n_steps, max_rate = 20_000, 5, 0.5
    x = Poisson(n_steps, max_rate, generator())(GREYS.expand(n, 1, 4))
    assert set(x.unique().tolist()) == {0.0, 1.0}
    counts = x.sum(dim=0)  # [image, pixel]
    assert not counts[:, 0].any(), "a black pixel never spikes"
    for pixel, drive in ((1, 0.2), (2, 0.4), (3, 1.0)):
        observed = torch.bincount(counts[:, pixel].long(), minlength=n_steps + 1).numpy()
        expected = n * binom.pmf(range(n_steps + 1), n_steps, drive * max_rate)
        top = int((expected > 5).nonzero()[0][-1])  # counts beyond it are rare: one bin with it
        pooled = [[*k[:top], k[top:].sum()] for k in (observed, expected)]
        assert chisquare(*pooled).pvalue > 1e-3, (pixel, observed, expected)


def test_spikes_of_steps_and_pixels_are_independent():
    x = Poisson(2, 1.0, generator())(torch.full((50_000, 1, 2), 102, dtype=torch.uint8))
    table = torch.stack([x[0, :, 0], x[1, :, 0], x[0, :, 1], x[1, :, 1]])
    between = torch.corrcoef(table) - torch.eye(4)
    assert between.abs().max() < 5 / 50_000**0.5


def test_a_pixel_of_probability_one_spikes_at_every_step():
    assert Poisson(1000, 1.0, generator())(torch.full((1, 1), 255, dtype=torch.uint8)).all()


def test_the_generator_alone_decides():
    image = embedded_digits().test.images[0]
    torch.manual_seed(5)
    one = Poisson(9, 0.3, generator(1))(image)
    torch.manual_seed(6)
    assert torch.equal(one, Poisson(9, 0.3, generator(1))(image))
    drawn = generator(1)
    encode = Poisson(9, 0.3, drawn)
    assert torch.equal(one, encode(image))
    assert not torch.equal(one, encode(image)), "the generator has gone on"
    assert torch.equal(one, Compose([Poisson(9, 0.3, generator(1))])(image.numpy()))


def test_sequences_are_what_the_transform_draws_however_they_are_read():
    digits = take(embedded_digits().test, torch.arange(7))
    data = poisson_sequences(digits, 6, 0.4, generator())
    inputs = data.inputs
    assert isinstance(inputs, PoissonSequences)
    single = [
        Poisson(6, 0.4, generator(seed))(image)
        for image, seed in zip(digits.images, inputs.seeds.tolist(), strict=True)
    ]
    index = torch.tensor([5, 0, 5, 3])
    lazy, drawn = inputs.rows(index), inputs
    for step in range(6):
        assert torch.equal(drawn.at(step), torch.stack([x[step] for x in single]))
        assert torch.equal(
            drawn.rows(index).at(step), torch.stack([single[i][step] for i in index])
        )
        assert torch.equal(lazy.at(step), drawn.rows(index).at(step))
    assert torch.equal(data.rows(index).labels, digits.labels[index])


def test_every_image_and_every_call_has_spikes_of_its_own():
    digits = take(embedded_digits().test, torch.zeros(3, dtype=torch.long))
    source = generator()
    first, second = (poisson_sequences(digits, 25, 0.3, source).inputs for _ in range(2))
    trains = [x for part in (first, second) for x in part.spikes]  # type: ignore[attr-defined]
    for i, one in enumerate(trains):
        assert not any(torch.equal(one, other) for other in trains[:i])


@pytest.mark.usefixtures("as_user")
def test_what_cannot_be_encoded_is_refused():
    for rate in (0.0, -0.1, 1.5, 63.75):
        with pytest.raises(ValueError, match=rf"in \(0, 1\]; got {rate}"):
            Poisson(5, rate, generator())
    with pytest.raises(ValueError, match="n_steps must be in"):
        Poisson(0, 0.1, generator())
    with pytest.raises(ValueError, match=r"uint8 grey levels.*float32"):
        Poisson(5, 0.1, generator())(torch.rand(28, 28))
    with pytest.raises(ValueError, match="3 images and 2 seeds"):
        PoissonSequences(torch.zeros(3, 2, 2, dtype=torch.uint8), torch.arange(2), 5, 0.1)
