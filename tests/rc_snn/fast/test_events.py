"""Event-driven products against the dense ones: the same events, products and gradients."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rc_snn.fast.event_products import event_conv2d, event_linear
from rc_snn.sequences import SpikeSequences
from rc_snn.spike_events import Events
from rc_snn.spikes import spike_frames

F64 = torch.float64
PATHS = [("tensor", 1), ("numba", 1), ("numba", 2)]


@pytest.fixture
def use_threads() -> Iterator[Callable[[int], None]]:
    """Set the threads that torch, and with it the kernels, may use; put them back."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def mixed_steps(seed: int, inputs: int, n_steps: int, n: int = 20) -> Tensor:
    """Every kind of sample: random, silent, all at once, and around half of the inputs at once."""
    steps = torch.randint(
        n_steps + 1, (n, inputs), generator=torch.Generator().manual_seed(seed), dtype=torch.int16
    )
    half = inputs // 2
    steps[1], steps[2], steps[3] = n_steps, 0, n_steps - 1
    steps[4, :half], steps[4, half:] = 0, n_steps
    steps[5, : half + 1], steps[5, half + 1 :] = 0, n_steps
    steps[6, half:] = n_steps - 1
    return steps


def one_by_one(inputs: int) -> Tensor:
    """Sample i: only input i spikes at step 0; sample inputs + i: only input i does not."""
    alone = torch.eye(inputs, dtype=torch.bool)
    return torch.cat([alone, ~alone]).logical_not().to(torch.int16)


def centred_input(steps: Tensor, t: int, mean: Tensor | None) -> Tensor:
    x = (steps == t).to(F64)
    return x if mean is None else x - mean[t]


def with_gradients(product: Callable[..., Tensor], *parameters: Tensor) -> tuple[Tensor, ...]:
    """Return the product, and the gradients of its parameters for an arbitrary upstream one."""
    leaves = [p.detach().clone().requires_grad_() for p in parameters]
    out = product(*leaves)
    return out.detach(), *torch.autograd.grad(out, leaves, normal(99, *out.shape))


def assert_all_close(ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...]) -> None:
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


# -- Events -------------------------------------------------------------------------------------


@st.composite
def spike_trains(draw: st.DrawFn) -> tuple[Tensor, int]:
    n_steps, n = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    inputs = draw(st.integers(1, 9))
    size = n * inputs
    steps = draw(st.lists(st.integers(0, n_steps), min_size=size, max_size=size))
    dtype = draw(st.sampled_from([torch.int16, torch.int32, torch.int64]))
    return torch.tensor(steps, dtype=dtype).view(n, inputs), n_steps


@given(spike_trains(), st.data())
def test_events_hold_exactly_the_inputs_that_spike_at_each_step(trains, data):
    steps, n_steps = trains
    events = Events.encode(steps, n_steps)
    positions = st.lists(st.integers(0, len(steps) - 1), min_size=1, max_size=6).map(torch.tensor)
    first = data.draw(positions)
    second = torch.arange(len(first)).flip(0)
    assert (len(events), events.n_inputs, events.n_steps) == (*steps.shape, n_steps)
    assert len(events.rows(first)) == len(first)
    for t in range(n_steps):
        spiking = (steps == t).float()
        assert torch.equal(events.at(t).dense(), spiking)
        assert torch.equal(events.rows(first).at(t).dense(), spiking[first])
        assert torch.equal(events.rows(first).rows(second).at(t).dense(), spiking[first][second])
        assert torch.equal(events.starts[:, t].long(), (steps < t).sum(dim=1))
    assert torch.equal(events.starts[:, n_steps].long(), (steps < n_steps).sum(dim=1))
    every_input = torch.arange(events.n_inputs).expand_as(events.order)
    assert torch.equal(events.order.long().sort(dim=1).values, every_input)


@given(spike_trains(), st.sampled_from(["numba", "tensor"]))
def test_any_spikes_give_the_dense_product(trains, path):
    steps, n_steps = trains
    weight = normal(0, 3, steps.shape[1])
    for t in range(n_steps):
        x = Events.encode(steps, n_steps).at(t)
        expected = F.linear((steps == t).to(F64), weight)
        torch.testing.assert_close(event_linear(x, weight, path=path), expected)


def test_a_batch_without_samples_has_no_events():
    events = Events.encode(torch.zeros(0, 5, dtype=torch.int16), 3)
    assert len(events) == 0
    assert events.at(1).dense().shape == (0, 5)


def test_more_samples_than_are_sorted_at_once_keep_their_places():
    steps = torch.randint(4, (10_003, 3), generator=torch.Generator().manual_seed(0))
    events = Events.encode(steps, 3)
    for t in range(3):
        assert torch.equal(events.at(t).dense(), (steps == t).float())


def test_spike_sequences_and_their_events_are_the_same_centred_input():
    steps, mean = mixed_steps(0, 7, 4), normal(1, 4, 7)
    sequences = SpikeSequences(steps, 4, dtype=F64, mean=mean)
    rows = torch.tensor([5, 0, 5, 19])
    part = sequences.rows(rows).rows(torch.tensor([3, 1]))
    for t in range(4):
        expected = spike_frames(steps, 4)[t].to(F64) - mean[t]
        assert torch.equal(sequences.at(t), expected)
        assert torch.equal(sequences.events.at(t).dense(F64), expected)
        assert torch.equal(part.at(t), expected[[19, 0]])
        assert torch.equal(part.events.at(t).dense(F64), expected[[19, 0]])
    assert part.events.order is sequences.events.order, "parts share the sorted events"


def test_inputs_centred_by_their_mean_have_mean_zero_at_every_step():
    plain = SpikeSequences(mixed_steps(2, 7, 4), 4)
    centred = replace(plain, mean=plain.mean_input())
    for t in range(4):
        torch.testing.assert_close(centred.at(t).mean(dim=0), torch.zeros(7))


# -- W @ x_t ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "threads"), PATHS)
@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize(("inputs", "outputs", "n_steps"), [(1, 1, 1), (8, 5, 3), (31, 300, 18)])
def test_event_linear_and_its_gradients_equal_the_dense_ones(
    inputs, outputs, n_steps, centred, path, threads, use_threads
):
    use_threads(threads)
    steps = torch.cat([mixed_steps(0, inputs, n_steps), one_by_one(inputs)])
    mean = normal(1, n_steps, inputs) if centred else None
    events = Events.encode(steps, n_steps, mean)
    weight, bias = normal(2, outputs, inputs), normal(3, outputs)
    columns_together = weight.t().contiguous().t()
    for t in (0, n_steps // 2, n_steps - 1):
        x = centred_input(steps, t, mean)
        expected = with_gradients(lambda w, b, x=x: F.linear(x, w, b), weight, bias)
        for layout in (weight, columns_together):
            ours = with_gradients(
                lambda w, b, t=t: event_linear(events.at(t), w, b, path), layout, bias
            )
            assert_all_close(ours, expected)
        without_bias = event_linear(events.at(t), weight, path=path)
        torch.testing.assert_close(without_bias, F.linear(x, weight), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("path", ["numba", "tensor"])
@pytest.mark.parametrize("inputs", [16_383, 20_000, 32_767, 32_768])
def test_the_number_of_inputs_does_not_overflow_the_events_integers(inputs, path):
    steps = torch.zeros(2, inputs, dtype=torch.int16)
    steps[1, :7] = 1
    events, weight = Events.encode(steps, 2), normal(0, 1, inputs)
    x = (steps == 0).to(F64)
    ours = with_gradients(lambda w: event_linear(events.at(0), w, path=path), weight)
    assert_all_close(ours, with_gradients(lambda w: F.linear(x, w), weight))


@pytest.mark.parametrize("path", ["numba", "tensor"])
@pytest.mark.parametrize("centred", [False, True])
def test_gradients_of_event_linear_match_finite_differences(centred, path):
    steps = torch.tensor([[0, 0, 0, 1], [1, 2, 0, 2], [2, 2, 2, 2]])
    events = Events.encode(steps, 2, normal(0, 2, 4) if centred else None)
    parameters = (normal(1, 3, 4).requires_grad_(), normal(2, 3).requires_grad_())
    for t in (0, 1):
        assert torch.autograd.gradcheck(
            lambda w, b, t=t: event_linear(events.at(t), w, b, path), parameters
        )


# -- conv2d(x_t, W) -----------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "threads"), PATHS)
@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize(("grid", "outputs"), [((1, 1), 1), ((4, 3), 6), ((2, 7), 5)])
def test_event_conv2d_and_its_gradients_equal_the_dense_ones(
    grid, outputs, k, centred, path, threads, use_threads
):
    use_threads(threads)
    n_steps, inputs = 3, grid[0] * grid[1]
    steps = torch.cat([mixed_steps(0, inputs, n_steps), one_by_one(inputs)])
    mean = normal(1, n_steps, inputs) if centred else None
    events = Events.encode(steps, n_steps, mean)
    weight, bias = normal(2, outputs, 1, k, k), normal(3, outputs)
    for t in range(n_steps):
        x = centred_input(steps, t, mean).view(-1, 1, *grid)
        expected = with_gradients(
            lambda w, b, x=x: F.conv2d(x, w, b, padding=k // 2).movedim(1, -1), weight, bias
        )
        ours = with_gradients(
            lambda w, b, t=t: event_conv2d(events.at(t), w, b, grid, path), weight, bias
        )
        assert_all_close(ours, expected)
        without_bias = event_conv2d(events.at(t), weight, grid=grid, path=path)
        torch.testing.assert_close(without_bias + bias, expected[0], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("path", ["numba", "tensor"])
@pytest.mark.parametrize("centred", [False, True])
def test_gradients_of_event_conv2d_match_finite_differences(centred, path):
    steps = torch.tensor([[0, 0, 0, 1, 0, 0], [1, 2, 0, 2, 1, 2], [2, 2, 2, 2, 2, 2]])
    events = Events.encode(steps, 2, normal(0, 2, 6) if centred else None)
    parameters = (normal(1, 2, 1, 3, 3).requires_grad_(), normal(2, 2).requires_grad_())
    for t in (0, 1):
        assert torch.autograd.gradcheck(
            lambda w, b, t=t: event_conv2d(events.at(t), w, b, (2, 3), path), parameters
        )


# -- What is refused ----------------------------------------------------------------------------


@pytest.mark.usefixtures("as_user")
def test_weights_that_do_not_fit_the_inputs_are_refused():
    x = Events.encode(mixed_steps(0, 12, 3), 3).at(0)
    with pytest.raises(ValueError, match=r"\[outputs, 12\] for these events, got \[5, 11\]"):
        event_linear(x, torch.zeros(5, 11))
    with pytest.raises(ValueError, match=r"for these events, got \[12\]"):
        event_linear(x, torch.zeros(12))
    for shape in ((5, 2, 3, 3), (5, 1, 3, 5), (5, 1, 2, 2), (5, 3, 3)):
        with pytest.raises(ValueError, match=r"\[outputs, 1, k, k\] with odd k, got"):
            event_conv2d(x, torch.zeros(shape), grid=(4, 3))
    with pytest.raises(ValueError, match=r"grid of \(4, 4\) does not hold 12 inputs"):
        event_conv2d(x, torch.zeros(5, 1, 3, 3), grid=(4, 4))


def test_the_numba_path_is_refused_off_the_cpu():
    x = Events.encode(mixed_steps(0, 12, 3), 3).at(0)
    with pytest.raises(ValueError, match=r'numba path runs on the CPU.*on meta. Use "tensor"'):
        event_linear(x, torch.zeros(5, 12, device="meta"), path="numba")
    with pytest.raises(ValueError, match=r'numba path runs on the CPU.*on meta. Use "tensor"'):
        event_conv2d(x, torch.zeros(5, 1, 3, 3, device="meta"), grid=(4, 3), path="numba")


@pytest.mark.parametrize("wrong", [-1, 4])
def test_steps_outside_the_grid_are_refused(wrong):
    found = rf"must be in 0\.\.3 .*got {min(wrong, 0)}\.\.{max(wrong, 3)}\."
    with pytest.raises(ValueError, match=found):
        Events.encode(torch.tensor([[0, 3], [wrong, 1]]), 3)


@pytest.mark.usefixtures("as_user")
def test_a_mean_that_is_not_finite_or_does_not_fit_is_refused():
    steps = mixed_steps(0, 12, 3)
    for wrong in (torch.zeros(3, 11), torch.zeros(4, 12), torch.zeros(12)):
        with pytest.raises(ValueError, match=r"finite and of shape \(3, 12\), got"):
            SpikeSequences(steps, 3, mean=wrong)
    for value in (torch.nan, torch.inf):
        with pytest.raises(ValueError, match="mean must be finite"):
            SpikeSequences(steps, 3, mean=torch.full((3, 12), value))


@pytest.mark.parametrize(("dtype", "n_steps"), [(torch.uint8, 256), (torch.int8, 128)])
@pytest.mark.usefixtures("as_user")
def test_events_of_steps_in_bytes_are_those_of_large_integers(dtype, n_steps):
    """T itself has no number in such a type: a search among them would end at 0 or -128."""
    steps = torch.randint(n_steps, (20, 30), generator=torch.Generator().manual_seed(0))
    steps[:, :20] = n_steps - 1
    small, large = (SpikeSequences(x, n_steps) for x in (steps.to(dtype), steps))
    assert torch.equal(small.events.starts, large.events.starts)
    assert torch.equal(small.events.order, large.events.order)
    for t in (0, n_steps - 1):
        assert torch.equal(small.events.at(t).dense(), large.at(t))
        assert torch.equal(small.rows(torch.tensor([3, 1])).at(t), large.at(t)[[3, 1]])


@pytest.mark.usefixtures("as_user")
def test_sequences_of_steps_that_are_none_are_refused():
    for wrong in ([[0, 4]], [[-1, 0]], [0, 1], [[0.5, 1.0]]):
        with pytest.raises(ValueError, match="Spike steps must be"):
            SpikeSequences(torch.tensor(wrong), 3)
