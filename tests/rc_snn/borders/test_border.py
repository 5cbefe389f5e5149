"""What enters compiled code: sizes, types, states, steps and indices that do not fit."""

from dataclasses import replace

import numba
import numpy as np
import pytest
import torch
from torch import nn

from rc_snn.cells import ConvLSTMCell, LSTMCell
from rc_snn.fast.event_products import (
    ConvEvents,
    ConvGradient,
    LinearEvents,
    LinearGradient,
    event_conv2d,
    event_linear,
)
from rc_snn.fast.kernels import linear_add
from rc_snn.models import RCLSTM, RCConvLSTM
from rc_snn.runner import StreamingRunner, decide, run, trace
from rc_snn.sequences import SpikeSequences
from rc_snn.spike_events import Events, StepEvents

pytestmark = pytest.mark.usefixtures("as_user")
T = 4


def drawn(n: int, inputs: int) -> torch.Tensor:
    return torch.randint(T + 1, (n, inputs), generator=torch.Generator().manual_seed(n))


def events(n: int = 5, inputs: int = 12) -> Events:
    return Events.encode(drawn(n, inputs), T)


@pytest.mark.skipif(
    not numba.config.BOUNDSCHECK, reason="of the pass of .ci/run that checks bounds"
)
@pytest.mark.parametrize(("threads", "error"), [(1, IndexError), (2, SystemError)])
def test_kernels_compiled_with_bounds_check_raise(threads, error):
    """Of several threads numba reports what one of them raised as an error of the call itself."""
    if threads > numba.config.NUMBA_NUM_THREADS:
        pytest.skip("numba has one thread here")
    order, starts = np.array([[7]], np.int16), np.array([[0, 1]], np.int16)
    columns, out = np.zeros((2, 4), np.float32), np.zeros((1, 4), np.float32)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with pytest.raises(error):
            linear_add(order, starts, np.array([0]), 0, columns, columns[0], True, out, 4)
    finally:
        torch.set_num_threads(before)


# -- Events -------------------------------------------------------------------------------------


def test_events_made_by_hand_of_right_numbers_are_those_of_encode():
    made, x = events(), drawn(5, 12)
    for dtype in (torch.int16, torch.int32, torch.int64):
        by_hand = Events(made.order.to(dtype), made.starts.to(dtype), made.index, made.mean)
        crossed = Events(by_hand.order.t().contiguous().t(), by_hand.starts, by_hand.index)
        for each in (by_hand, crossed):
            assert torch.equal(each.at(1).dense(), (x == 1).float())
            found = LinearEvents(torch.eye(12)).add(each.at(1), torch.zeros(5, 12), fresh=True)
            assert torch.equal(found, (x == 1).float())


WRONG = {
    "order": [(0, 0, 12), (0, 0, -1), (4, 11, 30_000)],
    "starts": [(0, 0, 1), (2, 1, -1), (4, 4, 13), (1, 2, 12)],
    "index": [(0, 5), (4, -1)],
}


@pytest.mark.parametrize(("part", "place"), [(p, at) for p, ats in WRONG.items() for at in ats])
def test_indices_out_of_range_are_refused_when_made_and_when_changed(part, place):
    made = events()
    *at, value = place
    broken = getattr(made, part).clone()
    broken[tuple(at)] = value
    with pytest.raises(ValueError, match="no events"):
        replace(made, **{part: broken})
    cell, rows = RCLSTM(12, 3, 2).cell, made.rows(torch.arange(5))
    getattr(made, part)[tuple(at)] = value
    with pytest.raises(ValueError, match="no events"):
        cell.fused().step(made.at(1), None)
    if part != "index":
        with pytest.raises(ValueError, match="no events"):
            _ = rows.at(1).complement  # shares order and starts with what was changed


def test_an_input_that_comes_twice_is_refused():
    made = events()
    order = made.order.clone()
    order[0, 0] = order[0, 1]
    with pytest.raises(ValueError, match=r"every input in 0\.\.11 once"):
        replace(made, order=order)


def test_events_of_other_shapes_and_types_are_refused():
    made = events()
    for change in (
        {"order": made.order[:4]},
        {"starts": made.starts[:, :1]},
        {"index": made.index[None]},
        {"order": made.order.float()},
        {"starts": made.starts.to(torch.uint8)},
        {"mean": torch.zeros(T, 11)},
        {"mean": torch.full((T, 12), torch.nan)},
    ):
        with pytest.raises(ValueError, match=r"Events are|mean must be finite"):
            replace(made, **change)


@pytest.mark.parametrize("step", [-1, T, 1.0, None])
def test_a_step_that_the_events_do_not_have_is_refused(step):
    with pytest.raises(ValueError, match=r"whole number in 0\.\.3"):
        StepEvents(events(), step)


def test_spike_steps_of_small_types_are_sorted_as_those_of_large_ones():
    steps = torch.tensor([[0, 200, 255, 256], [100, 100, 3, 256]])
    wide = Events.encode(steps, 256)
    assert torch.equal(Events.encode(steps.to(torch.int16), 256).starts, wide.starts)
    silent = torch.where(steps == 256, 255, steps)
    narrow = Events.encode(silent.to(torch.uint8), 255)
    assert torch.equal(narrow.starts, Events.encode(silent, 255).starts)
    assert narrow.starts[:, -1].tolist() == [2, 3]
    more = Events.encode(silent.to(torch.uint8), 300)
    assert torch.equal(more.starts, Events.encode(silent, 300).starts)
    assert torch.equal(Events.encode(steps.double(), 256).starts, wide.starts)
    for wrong in (steps + 0.5, steps > 3):
        with pytest.raises((TypeError, ValueError), match="must be"):
            Events.encode(wrong, 256)


def test_steps_changed_in_place_are_sorted_anew():
    x = SpikeSequences(drawn(5, 12), T)
    part = x.rows(torch.tensor([3, 1]))
    _ = x.events, part.events
    x.steps[3] = 2
    part.steps[0] = 1
    assert torch.equal(x.events.at(2).dense(), x.at(2))
    assert torch.equal(part.events.at(1).dense(), part.at(1))
    x.steps[0, 0] = T + 1
    with pytest.raises(ValueError, match="Spike steps must be in"):
        decide(RCLSTM(12, 3, 2), x, 0.9)


# -- Products -----------------------------------------------------------------------------------


def test_products_refuse_events_and_memory_that_do_not_fit():
    x, other = events().at(1), events(5, 13).at(1)
    linear, gradient = LinearEvents(torch.zeros(6, 12)), LinearGradient((6, 12), torch.float32)
    conv, kernel = (
        ConvEvents(torch.zeros(2, 1, 3, 3), (4, 3)),
        ConvGradient((2, 1, 3, 3), torch.float32, (4, 3)),
    )
    for call in (
        lambda: linear.add(other, torch.zeros(5, 6)),
        lambda: linear.add(x, torch.zeros(4, 6)),
        lambda: linear.add(x, torch.zeros(5, 5)),
        lambda: linear.add(x, torch.zeros(5, 6).double()),
        lambda: gradient.add(other, torch.zeros(5, 6)),
        lambda: gradient.add(x, torch.zeros(4, 6)),
        lambda: gradient.add(x, torch.zeros(5, 7)),
        lambda: conv.add(other, torch.zeros(5, 4, 3, 2)),
        lambda: conv.add(x, torch.zeros(4, 4, 3, 2)),
        lambda: conv.add(x, torch.zeros(5, 3, 4, 2)),
        lambda: conv.add(x, torch.zeros(5, 2, 4, 3).permute(0, 2, 3, 1)),
        lambda: kernel.add(x, torch.zeros(5, 4, 3, 3)),
        lambda: kernel.add(other, torch.zeros(5, 4, 3, 2)),
        lambda: ConvEvents(torch.zeros(2, 2, 3, 3), (4, 3)),
        lambda: ConvEvents(torch.zeros(2, 1, 2, 2), (4, 3)),
        lambda: LinearEvents(torch.zeros(12)),
        lambda: event_linear(x, torch.zeros(6, 12), torch.zeros(5)),
        lambda: event_linear(x, torch.zeros(6, 12), torch.zeros(1)),
        lambda: event_linear(x, torch.zeros(6, 12), torch.zeros(6).double()),
        lambda: event_linear(x, torch.zeros(6, 12).half(), path="numba"),
        lambda: event_linear(x, torch.zeros(6, 12), path="fast"),
        lambda: event_conv2d(x, torch.zeros(2, 1, 3, 3), torch.zeros(3), (4, 3)),
        lambda: event_conv2d(x, torch.zeros(2, 1, 3, 3), grid=(-4, -3)),
    ):
        with pytest.raises(ValueError, match=r"must be|does not hold|has 12 inputs|runs on the"):
            call()


# -- Cells and models ---------------------------------------------------------------------------


def fused_cells():
    g = torch.Generator().manual_seed(0)
    conv = ConvLSTMCell(1, 2, 3, g)
    return [
        (LSTMCell(12, 3, g).fused(), (12,), (3,)),
        (conv.fused((4, 3)), (4, 3, 1), (4, 3, 2)),
    ]


@pytest.mark.parametrize("which", [0, 1])
def test_inputs_and_states_of_other_sizes_and_types_are_refused(which):
    cell, reads, holds = fused_cells()[which]
    x, state = torch.zeros(5, *reads), (torch.zeros(5, *holds), torch.zeros(5, *holds))
    more = (*holds[:-1], holds[-1] + 1)
    for wrong_x, wrong_state in (
        (torch.zeros(4, *reads), state),
        (torch.zeros(5, *reads[:-1], reads[-1] + 1), state),
        (x.double(), state),
        (events(5, 13).at(0), None),
        (events(4).at(0), state),
        (x, (state[0][:4], state[1])),
        (x, (state[0], state[1][:4])),
        (x, (state[0], state[1].double())),
        (x, (torch.zeros(5, *more), torch.zeros(5, *more))),
        (x[:0], state),
    ):
        with pytest.raises(ValueError, match=r"must be \[|The cell reads 12 inputs"):
            cell.step(wrong_x, wrong_state)
    with pytest.raises(TypeError, match="must be a tensor, got NoneType"):
        cell.step(x, (state[0], None))
    assert cell.step(x[:0], None)[0].shape == (0, *holds)
    assert cell.step(events(0).at(0), None)[0].shape == (0, *holds)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("inputs", [11, 13, 1000])
def test_sequences_of_another_size_are_refused_by_both_paths(fused, inputs):
    x = SpikeSequences(drawn(5, inputs), T)
    for model in (RCLSTM(12, 3, 2), RCConvLSTM((2,), 3, image_shape=(4, 3), n_classes=2)):
        for call in (run, trace):
            with pytest.raises(ValueError, match="reads 12 inputs per step, got sequences of"):
                call(model, x, *([0.9] if call is run else []), fused=fused)
        with pytest.raises(ValueError, match="reads 12 inputs per step"):
            StreamingRunner(model, 0.9, T).step(torch.zeros(inputs))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("weight_ih", (12, 11)),
        ("weight_ih", (16, 12)),
        ("weight_hh", (16, 4)),
        ("weight_hh", (12, 4)),
        ("bias_ih", (11,)),
        ("bias_hh", (1,)),
    ],
)
def test_weights_replaced_by_others_after_construction_are_refused(name, shape):
    model, x = RCLSTM(12, 3, 2), SpikeSequences(drawn(5, 12), T)
    setattr(model.cell, name, nn.Parameter(torch.zeros(shape)))
    with pytest.raises(ValueError, match=r"must be \[|The cell reads 11 inputs"):
        run(model, x, 0.9)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("weight_ih", (8, 2, 3, 3)),
        ("weight_ih", (8, 1, 2, 2)),
        ("weight_ih", (4, 1, 3, 3)),
        ("weight_hh", (8, 1, 3, 3)),
        ("weight_hh", (8, 2, 4, 4)),
        ("bias", (7,)),
    ],
)
def test_kernels_replaced_by_others_after_construction_are_refused(name, shape):
    model = RCConvLSTM((2,), 3, image_shape=(4, 3), n_classes=2)
    setattr(model.layers[0], name, nn.Parameter(torch.zeros(shape)))
    with pytest.raises(ValueError, match=r"must be|reads 24 inputs"):
        run(model, SpikeSequences(drawn(5, 12), T), 0.9)


def test_weights_in_any_memory_order_give_what_contiguous_ones_give():
    model, x = RCLSTM(12, 3, 2).double(), SpikeSequences(drawn(5, 12), T)
    expected = run(model, x, None).logits
    for name in ("weight_ih", "weight_hh"):
        weight = getattr(model.cell, name)
        wide = torch.zeros(weight.shape[0], 2 * weight.shape[1], dtype=weight.dtype)
        wide[:, ::2] = weight.detach()
        for other in (weight.detach().contiguous(), wide[:, ::2]):
            setattr(model.cell, name, nn.Parameter(other))
            torch.testing.assert_close(run(model, x, None).logits, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_other_precisions_take_the_reference_path(dtype):
    x = SpikeSequences(drawn(5, 12), T)
    for model in (RCLSTM(12, 3, 2), RCConvLSTM((2,), 3, image_shape=(4, 3), n_classes=2)):
        exact = trace(model, x)
        low = trace(model.to(dtype), x)
        assert low.dtype is dtype
        torch.testing.assert_close(low.float(), exact, rtol=0, atol=0.05)


def test_a_run_that_goes_on_after_a_backward_pass_writes_to_its_own_memory():
    """Gradients of the gates of all steps lie in one memory, made at the first backward pass."""
    cell, g = LSTMCell(12, 3, torch.Generator().manual_seed(0)).double(), drawn(20, 12).double()
    found = []
    for step in (cell.fused().step, cell):
        cell.zero_grad()
        state = step(g[:5], None)
        state[0].sum().backward(retain_graph=True)
        for k in (1, 2, 3):
            state = step(g[5 * k : 5 * k + 5], state)
        (state[0].sum() + state[1].square().sum()).backward()
        found.append([p.grad for p in cell.parameters()])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("model", [{"n_inputs": 0}, {"n_hidden": 0}, {"n_dense": 0}])
def test_models_without_inputs_or_units_are_refused(model):
    with pytest.raises(ValueError, match="must be at least 1"):
        RCLSTM(**model)
    with pytest.raises(ValueError, match="must be at least 1"):
        RCConvLSTM((0,), 3)
