"""What does not fit is told which call to use."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from rc_snn import (
    RCLSTM,
    DenseSequences,
    Labelled,
    Network,
    StreamingRunner,
    TrainConfig,
    account,
    decide,
    run,
    train,
)
from rc_snn.runner import trace

pytestmark = pytest.mark.usefixtures("as_user")
T, N, F, K = 5, 4, 3, 2
X = torch.rand(T, N, F, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 1, 0, 1])
LOADER = DataLoader(TensorDataset(X.transpose(0, 1), Y))
MODEL = RCLSTM(F, 4, K)
SEQUENCES = DenseSequences(X)
DATA = Labelled(SEQUENCES, Y)

MODELS = [
    (nn.LSTM(F, K), r"got LSTM: bridges\.StepModule\.from_rnn\(lstm, read_out=nn\.Linear"),
    (nn.GRU(F, K), r"from_rnn\(gru,"),
    (nn.Linear(F, K), r"got Linear: bridges\.StepModule\(module, n_inputs, n_classes\)"),
    (SEQUENCES, r"got DenseSequences: the model comes first"),
    (LOADER, r"got DataLoader: the model comes first"),
]
INPUTS = [
    (X, r"got Tensor \[5, 4, 3\]: DenseSequences\(tensor\) reads a tensor \[T, B, …\]"),
    (X.numpy(), r"got ndarray \[5, 4, 3\]|got ndarray \[5, 4, 3\]: DenseSequences"),
    (LOADER, r"got DataLoader: Labelled\.from_dataset\(data\) reads it; pass its \.inputs"),
    (LOADER.dataset, r"TensorDataset: Labelled\.from_dataset"),
    (DATA, r"got Labelled: pass its \.inputs"),
    (MODEL, r"got RCLSTM: the model comes first"),
    (7, r"got int: see DenseSequences"),
]
CALLS = {
    "run": lambda model, inputs: run(model, inputs, 0.9),
    "decide": lambda model, inputs: decide(model, inputs, 0.9),
    "trace": trace,
}


@pytest.mark.parametrize("call", CALLS)
def test_what_is_no_model_or_no_sequences(call):
    for model, message in MODELS:
        with pytest.raises(TypeError, match=message):
            CALLS[call](model, SEQUENCES)
    for inputs, message in INPUTS:
        with pytest.raises(TypeError, match=message):
            CALLS[call](MODEL, inputs)
    with pytest.raises(TypeError, match=r"got Network: pass network\.model"):
        CALLS[call](Network("mine", MODEL, n_steps=T, theta=0.9), SEQUENCES)


def test_what_training_does_not_take(tmp_path):
    def trained(model, data, validation):
        return train(model, data, validation, TrainConfig(epochs=1), tmp_path)

    for model, message in MODELS:
        with pytest.raises(TypeError, match=message):
            trained(model, DATA, DATA)
    for data, message in [
        (LOADER, r"got DataLoader: Labelled\.from_dataset\(data\) reads it"),
        (SEQUENCES, r"got DenseSequences: Labelled\(inputs, labels\)"),
        ((X, Y), r"got tuple: Labelled\(DenseSequences\(x\), labels\)"),
        (X, r"Labelled\(DenseSequences\(x\), labels\)"),
        (MODEL, "the model comes first"),
    ]:
        for pair in [(data, DATA), (DATA, data)]:
            with pytest.raises(TypeError, match=message):
                trained(MODEL, *pair)
    assert not list(tmp_path.iterdir())


def test_what_labelled_streaming_and_account_do_not_take():
    for inputs, message in INPUTS:
        with pytest.raises(TypeError, match=message):
            Labelled(inputs, Y)
    with pytest.raises(TypeError, match=r"integer tensor \[B\], got list"):
        Labelled(SEQUENCES, Y.tolist())
    with pytest.raises(TypeError, match=r"integer tensor \[B\], got torch.float32"):
        Labelled(SEQUENCES, Y.float())
    with pytest.raises(TypeError, match="from_rnn"):
        StreamingRunner(nn.LSTM(F, K), 0.9, T)
    for wrong in (MODEL, run(MODEL, SEQUENCES, 0.9), X):
        with pytest.raises(TypeError, match=r"decide\(model, inputs, theta\) returns one"):
            account(wrong, Y, n_steps=T)


def test_batch_first_is_refused_where_the_labels_tell_and_named_where_they_do_not():
    with pytest.raises(ValueError, match=r"look batch first. Pass x\.transpose\(0, 1\)"):
        Labelled(DenseSequences(X.transpose(0, 1)), Y)
    square = torch.rand(N, N, F)
    assert len(Labelled(DenseSequences(square), Y)) == N  # nothing tells
    assert "Labelled" in DenseSequences.__doc__
    assert "T = B" in DenseSequences.__doc__
    with pytest.raises(ValueError, match=r"put time first: \[T, B, …\]"):
        run(MODEL, DenseSequences(X.permute(1, 2, 0)), 0.9)


def test_frames_that_are_no_real_numbers_are_refused():
    with pytest.raises(TypeError, match=r"real numbers, got torch\.complex64"):
        DenseSequences(X.to(torch.complex64))
    with pytest.raises(TypeError, match="real numbers, got ndarray"):
        DenseSequences(np.zeros((T, N, F)))
    with pytest.raises(ValueError, match=r"must be \[T, B, …\], got \[5\]"):
        DenseSequences(X[:, 0, 0])


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.half, torch.double])
def test_a_stream_and_a_batch_read_numbers_of_any_type_alike(dtype):
    x = (X > 0.5).to(dtype)
    expected = run(MODEL, DenseSequences(x.float()), 0.9).logits
    for fused in (True, False):
        got = run(MODEL, DenseSequences(x), 0.9, fused=fused).logits
        torch.testing.assert_close(got, expected)
    for sample in range(N):
        stream = StreamingRunner(MODEL, 0.9, T)
        for frame in x[:, sample]:
            decision = stream.step(frame)
        torch.testing.assert_close(decision.scores[0], expected.softmax(1)[sample])


class Bare(nn.Module):
    """A step model that says what it was given."""

    n_inputs, n_classes = 6, K

    def __init__(self, **own):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, dtype=torch.float64))
        self.seen = []
        vars(self).update(own)

    def step(self, x, state):
        self.seen.append((tuple(x.shape), x.dtype, x.flatten(1).tolist()))
        return self.weight * x.flatten(1)[:, :K], ()

    def read_out(self, features):
        return features


@pytest.mark.parametrize("dtype", [torch.int8, torch.float32, torch.float64])
def test_a_step_is_read_flat_in_the_models_dtype_or_in_the_shape_that_it_names(dtype):
    x = torch.arange(T * N * 6).remainder(5).view(T, N, 1, 6).to(dtype)
    for model, shape in [(Bare(), (N, 6)), (Bare(input_shape=(2, 3)), (N, 2, 3))]:
        for inputs in (x, x.view(T, N, 2, 3), x.view(T, N, 6)):
            model.seen.clear()
            run(model, DenseSequences(inputs), None)
            assert [s[:2] for s in model.seen] == [(shape, torch.float64)] * T
            assert [s[2] for s in model.seen] == x.view(T, N, 6).double().tolist()
