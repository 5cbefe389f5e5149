"""Memory that runs hand on: never in two hands at once, and given back by whatever ends a run."""

import copy
import gc
import pickle

import pytest
import torch
from test_fused import CASES, case, loss, trace

from rc_snn.fast.buffers import Buffers, Loan
from rc_snn.models import RCLSTM
from rc_snn.runner import run


def places(memory: Buffers) -> list[int]:
    return sorted(m.data_ptr() for free in memory.free.values() for m in free)


def test_what_is_taken_is_apart_from_all_else_that_is_taken():
    memory = Buffers()
    loans = [Loan(memory), Loan(memory)]
    shapes = [(3, 5), (1,), (64,), (65,), (7, 2, 2)]
    taken = [loan.take(s, torch.float64) for loan in loans for s in shapes]
    for i, tensor in enumerate(taken):
        tensor.fill_(i)
    for i, tensor in enumerate(taken):
        assert tensor.shape == shapes[i % len(shapes)]
        assert (tensor == i).all()
    assert places(memory) == []
    del loans[0]
    assert len(places(memory)) == len(shapes)


def test_a_size_is_taken_again_by_what_fits_and_by_nothing_larger():
    memory = Buffers()
    loan = Loan(memory)
    first = loan.take((100,), torch.float32).data_ptr()
    loan.give_back()
    assert loan.take((129,), torch.float32).data_ptr() != first
    assert loan.take((65,), torch.float32).data_ptr() == first
    assert loan.take((65,), torch.float32).data_ptr() != first, "one memory, one taker"


@pytest.mark.parametrize("train", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "name", ["lstm", *(pytest.param(x, marks=pytest.mark.slow) for x in CASES if x != "lstm")]
)
def test_a_run_without_the_collector_leaves_nothing_behind(name, train):
    """A graph that keeps itself alive would hold its memory until Python looks for circles."""
    model, inputs, theta = case(name, "centred spikes")
    cell = model.cell if isinstance(model, RCLSTM) else model.layers[0]
    trace(model, inputs, theta, fused=True)  # a kernel's first call, which compiles, leaves circles
    gc.collect()
    gc.disable()
    try:
        found = []
        for _ in range(3):
            with torch.set_grad_enabled(train):
                value = loss(run(model, inputs, theta))
            if train:
                value.backward()
            del value
            found.append(places(cell.memory))
    finally:
        gc.enable()
    assert found[0], "the run took memory"
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("name", CASES)
def test_a_graph_that_waits_for_its_backward_pass_keeps_its_memory(name):
    model, inputs, theta = case(name, "centred spikes")
    _, expected = trace(model, inputs, theta, fused=True)
    waiting = loss(run(model, inputs, theta))
    for _ in range(2):  # others come and go meanwhile
        loss(run(model, inputs.rows(torch.arange(7)), 0.9)).backward()
        with torch.no_grad():
            run(model, inputs, None)
    model.zero_grad()
    waiting.backward()
    for parameter_name, parameter in model.named_parameters():
        assert torch.equal(parameter.grad, expected[parameter_name]), parameter_name


def test_a_copy_of_a_model_begins_with_no_memory_of_its_own():
    model, inputs, theta = case("lstm")
    loss(run(model, inputs, theta)).backward()
    assert places(model.cell.memory)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert places(other.cell.memory) == []
        assert torch.equal(run(other, inputs, theta).logits, run(model, inputs, theta).logits)
    assert list(model.state_dict()) == list(RCLSTM(12, 9, 4).state_dict())
