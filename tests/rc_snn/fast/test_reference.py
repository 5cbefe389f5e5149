"""The fast path is the reference: it raises, steps aside, and has gradients where that does."""

import contextlib

import pytest
import torch
import torch.nn.utils.parametrizations as parametrizations
from test_fused import CASES, F64, T, case, generator, gradients, loss, spikes, trace
from torch import nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from rc_snn.cells import LSTMCell
from rc_snn.fast.event_products import event_conv2d, event_linear
from rc_snn.models import RCLSTM, RCConvLSTM
from rc_snn.runner import run
from rc_snn.sequences import DenseSequences, SpikeSequences
from rc_snn.spike_events import Events


def parameters(name):
    return [n for n, _ in case(name)[0].named_parameters()]


# -- Weights that change ------------------------------------------------------------------------


def backward_after_change(name, kind, parameter, theta, *, fused, precision="float32", to_x=False):
    """Return the gradients, or the error, of a backward pass before which a weight has changed."""
    model, inputs, _ = case(name, kind, F64 if precision == "float32" else torch.float32)
    model.precision = precision
    if to_x:
        inputs = DenseSequences(inputs.frames.requires_grad_())
    value = loss(run(model, inputs, theta, fused=fused))
    with torch.no_grad():
        model.get_parameter(parameter).mul_(3.0)
    try:
        value.backward()
    except RuntimeError as error:
        assert "modified by an inplace operation" in str(error)  # noqa: PT017
        return None
    return gradients(model)


@pytest.mark.parametrize("theta", [1e-6, None])
@pytest.mark.parametrize("kind", ["centred spikes", "dense", "dense with gradient"])
@pytest.mark.parametrize(("name", "parameter"), [(n, p) for n in CASES for p in parameters(n)])
def test_a_weight_changed_before_the_backward_pass_raises_where_the_reference_does(
    name, parameter, kind, theta
):
    kind, to_x = kind.removesuffix(" with gradient"), kind.endswith("gradient")
    ours, theirs = (
        backward_after_change(name, kind, parameter, theta, fused=fused, to_x=to_x)
        for fused in (True, False)
    )
    assert (ours is None) == (theirs is None)
    for key, expected in (theirs or {}).items():
        assert (ours[key] is None) == (expected is None)
        if expected is not None:
            torch.testing.assert_close(ours[key], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_weights_of_the_state_changed_before_the_backward_pass_are_refused(name):
    hidden = next(p for p in parameters(name) if p.endswith("weight_hh"))
    for fused in (True, False):
        assert backward_after_change(name, "spikes", hidden, None, fused=fused) is None


@pytest.mark.parametrize("name", ["lstm", "conv"])
def test_copies_in_bf16_are_kept_as_they_were(name):
    hidden = next(p for p in parameters(name) if p.endswith("weight_hh"))
    for fused in (True, False):
        low = backward_after_change(name, "spikes", hidden, None, fused=fused, precision="bf16")
        assert low is not None


@pytest.mark.parametrize("name", CASES)
def test_an_input_changed_before_the_backward_pass_is_refused(name):
    for fused in (True, False):
        model, inputs, theta = case(name, "dense")
        value = loss(run(model, inputs, theta, fused=fused))
        inputs.frames.mul_(2.0)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            value.backward()


@pytest.mark.parametrize("name", CASES)
def test_a_change_after_the_backward_pass_or_without_one_is_nobodys_matter(name):
    model, inputs, theta = case(name)
    for fused in (True, False):
        for _ in range(2):
            loss(run(model, inputs, theta, fused=fused)).backward()
            with torch.no_grad():
                for p in model.parameters():
                    p.mul_(1.01)


# -- Second derivatives -------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_a_gradient_is_never_a_constant_of_a_second_derivative(name):
    """`sum` gives a gradient that depends on nothing, of which torch would ask no second one."""
    model, inputs, _ = case(name)
    values = list(model.parameters())
    with pytest.raises(RuntimeError, match="no second derivatives"):
        torch.autograd.grad(run(model, inputs, None).logits.sum(), values, create_graph=True)
    found = torch.autograd.grad(
        run(model, inputs, None, fused=False).logits.sum(), values, create_graph=True
    )
    sum(g.square().sum() for g in found).backward()
    assert all(p.grad is not None for n, p in model.named_parameters() if n != "output.bias")


def test_event_products_refuse_second_derivatives_on_the_compiled_path():
    x = Events.encode(spikes(0, 5, 12), T).at(1)
    products = [
        (lambda w, path: event_linear(x, w, path=path), (3, 12)),
        (lambda w, path: event_conv2d(x, w, grid=(4, 3), path=path), (3, 1, 3, 3)),
    ]
    for product, shape in products:
        weight = torch.ones(shape, requires_grad=True)
        with pytest.raises(RuntimeError, match="no second derivatives"):
            torch.autograd.grad(product(weight, "numba").sum(), weight, create_graph=True)
        torch.autograd.grad(product(weight, "tensor").sum(), weight, create_graph=True)


# -- Gradients ----------------------------------------------------------------------------------


def test_what_one_backward_pass_left_is_not_in_the_gradients_of_another():
    """The first asks for the inputs' gradient of a later step, the second for all of an earlier."""
    cell, x = LSTMCell(12, 3, generator(0)).double(), torch.rand(3, 5, 12, dtype=F64)
    found = []
    for step in (cell.fused().step, cell):
        cell.zero_grad()
        shown = x.clone().requires_grad_()
        first = step(shown[0], None)
        last = step(shown[2], step(shown[1], first))
        torch.autograd.grad(last[0].sum(), shown, retain_graph=True)
        first[0].sum().backward()
        found.append([p.grad for p in cell.parameters()])
    assert found[0].pop(1) is found[1].pop(1) is None  # of the state, of which there was none
    torch.testing.assert_close(found[0], found[1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_every_set_of_frozen_weights_leaves_the_gradients_of_the_others(name):
    model, inputs, theta = case(name, "centred spikes")
    _, whole = trace(model, inputs, theta, fused=False)
    names = list(whole)
    for frozen in [{n} for n in names] + [set(names) - {n} for n in names]:
        for n, p in model.named_parameters():
            p.requires_grad_(n not in frozen)
        _, found = trace(model, inputs, theta, fused=True)
        for n in names:
            assert (found[n] is None) == (n in frozen), n
            if n not in frozen:
                torch.testing.assert_close(found[n], whole[n], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", CASES)
def test_weights_that_are_views_of_one_vector_have_its_gradient(name):
    model, inputs, theta = case(name, "centred spikes")
    named = {n: p.detach() for n, p in model.named_parameters()}
    found = []
    for fused in (True, False):
        vector = torch.cat([p.flatten() for p in named.values()]).requires_grad_()
        parts = vector.split([p.numel() for p in named.values()])
        views = {n: part.view_as(p) for (n, p), part in zip(named.items(), parts, strict=True)}

        class Whole(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.model = model

            def forward(self, fused=fused):
                return loss(run(self.model, inputs, theta, fused=fused))

        functional_call(Whole(), {f"model.{n}": v for n, v in views.items()}, ()).backward()
        found.append(vector.grad)
    torch.testing.assert_close(found[0], found[1], rtol=1e-10, atol=1e-12)


def test_one_weight_in_two_places_has_the_sum_of_both_gradients():
    found = []
    for fused in (True, False):
        model = RCLSTM(9, 9, 4, generator=generator(3)).double()
        model.cell.weight_hh = model.cell.weight_ih
        model.cell.bias_hh = model.cell.bias_ih
        inputs = SpikeSequences(spikes(1, 20, 9), T, F64)
        loss(run(model, inputs, None, fused=fused)).backward()
        found.append((model.cell.weight_ih.grad, model.cell.bias_ih.grad))
    torch.testing.assert_close(found[0], found[1], rtol=1e-10, atol=1e-12)


def test_gradients_of_the_two_biases_are_two_tensors():
    model, inputs, theta = case("lstm")
    biases = [model.cell.bias_ih, model.cell.bias_hh]
    one, other = torch.autograd.grad(loss(run(model, inputs, theta)), biases)
    assert torch.equal(one, other)
    one.zero_()
    assert other.abs().max() > 0


def test_steps_on_events_and_dense_inputs_and_apart_from_each_other_share_a_run():
    cell, dense = LSTMCell(12, 3, generator(0)).double(), torch.rand(5, 12, dtype=F64)
    events = Events.encode(spikes(0, 5, 12), T)
    shown = [events.at(1), dense, events.at(2), 2 * dense]
    plain = [events.at(1).dense(F64), dense, events.at(2).dense(F64), 2 * dense]
    found = []
    for step, xs in ((cell.fused().step, shown), (cell, plain)):
        cell.zero_grad()
        step(xs[0], None)  # to which no gradient comes
        state = step(xs[1], step(xs[2], None))
        step(xs[2], state)
        state = step(xs[0], step(xs[3], state))
        (state[0].sum() + state[1].square().sum()).backward()
        found.append([p.grad for p in cell.parameters()])
    torch.testing.assert_close(found[0], found[1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_a_mean_that_is_learned_has_the_reference_paths_gradient(name):
    model, inputs, theta = case(name)
    found = []
    for fused in (True, False):
        mean = torch.full((T, model.n_inputs), 0.25, dtype=F64, requires_grad=True)
        centred = SpikeSequences(inputs.steps, T, F64, mean)
        loss(run(model, centred, theta, fused=fused)).backward()
        found.append(mean.grad)
    assert found[1].abs().max() > 0
    torch.testing.assert_close(found[0], found[1], rtol=1e-10, atol=1e-12)


def test_event_products_have_the_gradient_of_a_learned_mean():
    mean = torch.rand(T, 12, dtype=F64, requires_grad=True)
    x = Events.encode(spikes(0, 5, 12), T, mean).at(1)
    for product, shape in ((event_linear, (3, 12)), (event_conv2d, (3, 1, 3, 3))):
        options = {} if product is event_linear else {"grid": (4, 3)}
        weight = torch.rand(shape, dtype=F64)
        (found,) = torch.autograd.grad(product(x, weight, **options).sum(), mean)
        assert found[1].abs().min() > 0
        with pytest.raises(ValueError, match="without the gradient of a mean"):
            product(x, weight, path="numba", **options)


# -- Where the fast path steps aside --------------------------------------------------------------


def fast(model) -> bool:
    return model.fused() is not None


def cell_of(model):
    return model.cell if isinstance(model, RCLSTM) else model.layers[-1]


HOOKS = [
    "register_forward_hook",
    "register_forward_pre_hook",
    "register_full_backward_hook",
    "register_full_backward_pre_hook",
]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("register", HOOKS)
def test_hooks_of_a_cell_see_every_step(name, register):
    model, inputs, _ = case(name, "dense")
    seen = []
    hook = getattr(cell_of(model), register)(lambda *args: seen.append(1))
    assert not fast(model)
    frames = inputs.frames.requires_grad_()
    run(model, DenseSequences(frames), None).logits.sum().backward()
    assert len(seen) == T
    hook.remove()
    assert fast(model)


@pytest.mark.parametrize("name", CASES)
def test_hooks_of_all_modules_see_every_step(name):
    model, inputs, _ = case(name)
    seen = []
    hook = nn.modules.module.register_module_forward_hook(lambda m, *_: seen.append(m))
    try:
        assert not fast(model)
        run(model, inputs, None)
    finally:
        hook.remove()
    assert sum(m is cell_of(model) for m in seen) == T
    assert fast(model)


@pytest.mark.parametrize("name", CASES)
def test_parametrised_weights_take_the_reference_path(name):
    for change in (parametrizations.weight_norm, parametrizations.spectral_norm):
        model, inputs, theta = case(name)
        model.eval()
        change(cell_of(model), "weight_hh")
        assert not fast(model)
        ours, our_gradients = trace(model, inputs, theta, fused=True)
        theirs, their_gradients = trace(model, inputs, theta, fused=False)
        assert torch.equal(ours.logits, theirs.logits)
        assert any("original" in key for key in our_gradients)
        for key, expected in their_gradients.items():
            torch.testing.assert_close(our_gradients[key], expected)


def test_subclasses_and_replaced_methods_of_cells_and_models_are_what_runs():
    class Louder(LSTMCell):
        def forward(self, x, state=None):
            h, c = super().forward(x, state)
            return 2.0 * h, c

    class Model(RCLSTM):
        pass

    inputs = SpikeSequences(spikes(0, 5, 12), T)
    model = RCLSTM(12, 9, 4)
    plain = run(model, inputs, None).logits
    model.cell.__class__ = Louder
    assert not fast(model)
    louder = run(model, inputs, None).logits
    assert not torch.allclose(louder, plain)
    model.cell.__class__ = LSTMCell
    torch.testing.assert_close(run(model, inputs, None).logits, plain)
    own = model.cell.forward
    model.cell.forward = lambda x, state=None: (2.0 * own(x, state)[0], own(x, state)[1])
    torch.testing.assert_close(run(model, inputs, None).logits, louder)
    assert not fast(Model(12, 9, 4))
    conv = RCConvLSTM((2,), 3, image_shape=(4, 3))
    conv.step = lambda x, state: RCConvLSTM.step(conv, x, state)
    assert not fast(conv)


def test_sequences_that_show_something_else_are_read_by_what_they_show():
    class Late(SpikeSequences):
        def at(self, step):
            return super().at(max(step - 1, 0))

    model, steps = RCLSTM(12, 9, 4), spikes(0, 5, 12)
    late = Late(steps, T)
    torch.testing.assert_close(
        run(model, late, None).logits, run(model, late, None, fused=False).logits
    )


@pytest.mark.parametrize("name", CASES)
def test_autocast_and_modes_that_watch_get_the_reference_path(name):
    model, inputs, _ = case(name, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        assert not fast(model)
        ours, theirs = (run(model, inputs, None, fused=f).logits for f in (True, False))
        assert torch.equal(ours, theirs)
    counts = []
    for fused in (True, False):
        with FlopCounterMode(display=False) as counter:
            run(model, inputs, None, fused=fused)
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 0


@pytest.mark.parametrize("name", CASES)
def test_derivatives_of_torch_func_are_those_of_the_reference_path(name):
    model, inputs, _ = case(name, "dense")
    values = {n: p.detach() for n, p in model.named_parameters()}

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self):
            state = None
            advance = self.model.fused() or (lambda t, x, s: self.model.step(x.at(t), s))
            for t in range(3):
                features, state = advance(t, inputs, state)
            return self.model.read_out(features).square().sum()

    def value(values):
        return functional_call(Whole(), {f"model.{n}": v for n, v in values.items()}, ())

    found = torch.func.grad(value)(values)
    Whole()().backward()
    for n, p in model.named_parameters():
        torch.testing.assert_close(found[n], p.grad, rtol=1e-9, atol=1e-12)
    _, forward = torch.func.jvp(value, (values,), (values,))
    expected = sum((found[n] * values[n]).sum() for n in values)
    torch.testing.assert_close(forward, expected)


@pytest.mark.parametrize("mode", [contextlib.nullcontext, torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("name", CASES)
def test_events_sorted_and_models_made_in_any_mode_give_the_same_answers(name, mode):
    with mode():
        model, inputs, theta = case(name, "centred spikes")
        within = run(model, inputs, theta).logits
    after = run(model, inputs, theta).logits if mode is not torch.inference_mode else within
    model, inputs, theta = case(name, "centred spikes")
    torch.testing.assert_close(within, run(model, inputs, theta).logits)
    torch.testing.assert_close(after, within)
    with torch.inference_mode():
        decided = run(model, inputs.rows(torch.arange(9)), theta).decision
    loss(run(model, inputs, theta)).backward()
    assert torch.equal(decided.label, run(model, inputs, theta).decision.label[:9])


def test_a_default_dtype_of_the_process_changes_nothing():
    model, inputs, theta = case("lstm", "centred spikes", torch.float32)
    _, expected = trace(model, inputs, theta, fused=True)
    torch.set_default_dtype(F64)
    try:
        _, found = trace(model, inputs, theta, fused=True)
    finally:
        torch.set_default_dtype(torch.float32)
    for key in expected:
        assert torch.equal(found[key], expected[key])
