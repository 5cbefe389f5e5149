"""Inference evaluates a model, whatever mode it is in, and leaves every part of it in its mode."""

import pytest
import torch
from torch import nn

import bridges
from bridges.networks.nir import hidden_states
from bridges.neurobench.models import RankCoded
from rc_snn.borders.checks import check_finite, check_weights
from rc_snn.files.tensors import read_tensors, write_tensors
from rc_snn.models import RCLSTM, RCConvLSTM
from rc_snn.network import Network, load
from rc_snn.operations import count_operations
from rc_snn.runner import StreamingRunner, decide, run, trace
from rc_snn.sequences import DenseSequences, Labelled, SpikeSequences
from rc_snn.step_model import evaluated
from rc_snn.training import TrainConfig, train

T, N = 6, 40


class Noisy(nn.Module):
    """Somebody's cell with torch's dropout, which draws from the global generator."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.drop = nn.GRUCell(12, 16), nn.Dropout(0.5)

    def forward(self, x, h):
        h = self.cell(self.drop(x), h)
        return self.drop(h), h


def noisy():
    return bridges.StepModule(Noisy(), 12, 4, read_out=nn.Linear(16, 4), gain=3.0)


def lstm():
    return RCLSTM(12, 9, 4, dropout=0.5)


def conv():
    return RCConvLSTM((3,), 3, image_shape=(4, 3), n_classes=4, dropout=0.5)


MODELS = {"lstm": lstm, "conv": conv, "somebody's": noisy}
X = SpikeSequences(torch.randint(T + 1, (N, 12), generator=torch.Generator().manual_seed(0)), T)
TIMES = torch.rand(N, 12, generator=torch.Generator().manual_seed(1))


@pytest.fixture(params=MODELS)
def model(request):
    """A model in training mode, dropout included, but for its cell."""
    torch.manual_seed(0)
    made = MODELS[request.param]().train()
    cells = [p for n, p in made.named_modules() if n in ("cell", "cells.0", "module.cell")]
    cells[0].eval()
    return made


def modes(model):
    return [part.training for part in model.modules()]


def fields(decision):
    return torch.cat([decision.label.double(), decision.time, decision.scores.double().flatten()])


def streamed(model):
    stream = StreamingRunner(model, 0.4, T)
    found = []
    for i in range(5):
        stream.reset()
        while stream.decision is None:
            stream.step(X.at(stream._step)[i])
        found.append(stream.decision.scores)
    return torch.cat(found)


def untrained(model, **options):
    with torch.no_grad():
        return run(model, X, 0.4, **options).logits


INFERENCE = {
    "decide": lambda m: fields(decide(m, X, 0.4)),
    "decide in batches": lambda m: fields(decide(m, X, 0.4, batch_size=7)),
    "run without a graph": untrained,
    "run on the reference path": lambda m: untrained(m, fused=False),
    "trace": lambda m: trace(m, X).detach(),
    "trace in batches": lambda m: trace(m, X, batch_size=9, fused=False).detach(),
    "stream": streamed,
    "network": lambda m: fields(network(m).decide(TIMES)),
    "account": lambda m: repr(network(m).account(torch.arange(N) % 4, TIMES)),
    "operations": lambda m: torch.stack(count_operations(m, X, decide(m, X, 0.4))),
}


def network(model):
    return Network(name="mine", model=model, theta=0.4, n_steps=T)


@pytest.mark.parametrize("name", INFERENCE)
def test_inference_is_that_of_evaluation_twice_alike_and_leaves_all_modes(model, name):
    before, state = modes(model), torch.get_rng_state()
    first, second = INFERENCE[name](model), INFERENCE[name](model)
    assert modes(model) == before
    assert torch.equal(state, torch.get_rng_state())
    expected = INFERENCE[name](model.eval())
    if isinstance(first, str):
        assert first == second == expected
    else:
        assert torch.equal(first, second)
        assert torch.equal(first, expected)


@pytest.mark.parametrize("name", sorted(set(INFERENCE) - {"network", "account"}))
def test_modes_are_left_by_an_error_in_the_middle_too(model, name):
    calls = []

    def fail(module, args):
        calls.append(modes(model))
        raise ZeroDivisionError

    part = model.output if hasattr(model, "output") else model.linear
    part.register_forward_pre_hook(fail)
    before = modes(model)
    with pytest.raises(ZeroDivisionError):
        INFERENCE[name](model)
    assert modes(model) == before
    assert not any(calls[0])


def test_training_keeps_dropout(model):
    first, second = (run(model, X, 0.4).logits for _ in range(2))
    assert not torch.equal(first, second)
    first, second = (trace(model, X, training=True) for _ in range(2))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("method", ["rc", "max_pool"])
def test_the_loss_of_every_method_is_that_of_training_mode(method, tmp_path):
    seen, model = [], lstm()
    model.dropout.register_forward_hook(lambda m, x, y: seen.append((m.training, y)))
    data = Labelled(X, torch.arange(N) % 4)
    config = TrainConfig(epochs=1, method=method, beta=0.0)
    train(model, data, data, config, tmp_path)
    trained = [bool((y == 0).any()) for training, y in seen if training]
    assert trained
    assert all(trained)
    assert not model.training


def test_bridges_evaluate_too():
    model = noisy().train()
    before, state = modes(model), torch.get_rng_state()
    model.cost()
    rank_coded = RankCoded(model, theta=0.4, n_steps=T).train()
    frames = torch.stack([X.at(t) for t in range(T)], 1)
    expected = decide(model, X, 0.4)
    for _ in range(2):
        assert torch.equal(rank_coded.decide(frames).label, expected.label)
    assert modes(model) == before
    assert all(modes(rank_coded))
    held = lstm().train()
    first, second = (hidden_states(held, X, 1e-3).data for _ in range(2))
    assert (first == second).all()
    assert all(modes(held))
    assert torch.equal(state, torch.get_rng_state())


def test_a_module_whose_mode_is_more_than_a_flag_is_told_of_both_changes():
    class Merging(nn.Linear):
        """Merges its weights for inference, as low-rank adapters do."""

        merged = False

        def train(self, mode=True):
            self.merged = not mode
            return super().train(mode)

    model = nn.Sequential(Merging(2, 2), nn.Sequential(Merging(2, 2), nn.Dropout()))
    model[1][0].eval()
    with evaluated(model):
        assert [part.merged for part in (model[0], model[1][0])] == [True, True]
    assert [part.merged for part in (model[0], model[1][0])] == [False, True]
    assert modes(model) == [True, True, True, False, True]


def test_what_is_no_module_has_no_modes():
    with evaluated(object()):
        pass


# -- Weights that are not finite ------------------------------------------------------------------


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_weights_that_are_not_finite_are_refused_wherever_they_are(model, value, tmp_path):
    data = Labelled(X, torch.arange(N) % 4)
    for name, weight in model.named_parameters():
        held = weight.detach().clone()
        decide(model, X, 0.4)
        with torch.no_grad():
            weight.flatten()[-1:] = value
            weight[..., -1:] = value
        asked = (
            lambda: decide(model, X, 0.4),
            lambda: network(model).decide(TIMES),
            lambda: StreamingRunner(model, 0.4, T).step(torch.zeros(12)),
            lambda: train(model, data, data, TrainConfig(epochs=1), tmp_path),
        )
        for ask in asked:
            with pytest.raises(ValueError, match=f"values of {name} are not finite. Lower the lea"):
                ask()
        with torch.no_grad():
            weight.copy_(held)
    decide(model, X, 0.4)


def test_zeros_of_both_signs_subnormal_and_huge_weights_are_finite():
    huge = torch.tensor([3e38, 3e38, -3e38, 1e-45, -0.0, 0.0])
    half, whole = torch.full((9,), 6e4).half(), torch.ones(2).long()
    check_finite([("huge", huge), ("half", half), ("whole", whole)])
    model = RCLSTM(6, 3, 2)
    with torch.no_grad():
        model.cell.weight_ih[0] = huge
    check_weights(model)


def test_an_infinite_weight_of_a_silent_input_is_refused_though_no_logit_shows_it():
    model, silent = lstm(), SpikeSequences(torch.full((3, 12), T), T)
    with torch.no_grad():
        model.cell.weight_ih[0, 0] = torch.inf
    with pytest.raises(ValueError, match=r"1 of 432 values of cell\.weight_ih are not finite"):
        decide(model, silent, 0.4)


@pytest.mark.usefixtures("as_user")
def test_a_stream_goes_on_after_an_input_that_is_refused():
    model, x = lstm().eval(), DenseSequences(torch.rand(T, 1, 12))
    stream = StreamingRunner(model, 0.999, T)
    for t in range(T):
        with pytest.raises(ValueError, match=r"not finite|NaN or infinite"):
            stream.step(torch.full((12,), torch.nan))
        with pytest.raises(ValueError, match="reads 12 inputs"):
            stream.step(torch.zeros(13))
        with pytest.raises(TypeError, match=r"torch\.as_tensor"):
            stream.step([0.0] * 12)
        stream.step(x.at(t)[0])
    torch.testing.assert_close(stream.decision.scores, decide(model, x, 0.999).scores)


def test_a_file_with_weights_that_are_not_finite_is_no_network(tmp_path):
    path = network(lstm()).save(tmp_path / "mine.safetensors")
    tensors, texts = read_tensors(path)
    tensors["model.cell.bias_hh"][3] = torch.nan
    write_tensors(path, tensors, texts)
    with pytest.raises(ValueError, match=r"1 of 36 numbers of cell\.bias_hh are not finite"):
        load(path)
