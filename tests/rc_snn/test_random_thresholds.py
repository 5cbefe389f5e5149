"""A threshold for each sample, and the loss of the steps before the spike, slowly written out."""

import copy
import json
import math
from dataclasses import asdict

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from rc_snn import checkpoint
from rc_snn.exits import area, every_threshold, log_odds, right_answers, sweep
from rc_snn.models import RCLSTM, RCConvLSTM
from rc_snn.objective import draw_thetas, every_step_loss, prefix_loss, rc_loss
from rc_snn.operations import training_macs
from rc_snn.runner import StreamingRunner, decide, run, run_with_prefix, trace
from rc_snn.sequences import DenseSequences, Labelled, SpikeSequences
from rc_snn.spikes import crossed
from rc_snn.training import TrainConfig, train

T, B, N, K = 6, 40, 12, 4


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def inputs(seed: int, n: int = B) -> SpikeSequences:
    steps = torch.randint(T + 1, (n, N), generator=generator(seed)).to(torch.int16)
    return SpikeSequences(steps, T, dtype=torch.float64)


def labels(seed: int, n: int = B) -> Tensor:
    return torch.randint(K, (n,), generator=generator(seed))


def lstm(seed: int = 0) -> RCLSTM:
    return loud(RCLSTM(N, 9, K, generator=generator(seed)), 4.0)


def conv(seed: int = 0) -> RCConvLSTM:
    own = generator(seed)
    return loud(RCConvLSTM((3,), 3, image_shape=(4, 3), n_classes=K, generator=own), 5.0)


def loud(model, gain: float):
    """Scale the weights so that samples decide at all steps."""
    model.double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(gain)
    return model


def thetas(n: int = B) -> Tensor:
    spread = torch.linspace(0.4, 0.95, n, dtype=torch.float64)
    return spread[torch.randperm(n, generator=generator(8))]


@pytest.mark.parametrize("make", [lstm, conv])
@pytest.mark.parametrize("fused", [True, False])
def test_each_sample_decides_as_it_does_alone_at_its_own_threshold(make, fused):
    model, x, theta = make(), inputs(0), thetas()
    together = run(model, x, theta, fused=fused)
    assert {0, 1, T - 1} <= set(together.decision.step.tolist())
    for i in range(B):
        alone = run(model, x.rows(torch.tensor([i])), float(theta[i]), fused=fused)
        assert alone.decision.step.item() == together.decision.step[i]
        assert alone.decision.fired.item() == together.decision.fired[i]
        torch.testing.assert_close(alone.logits[0], together.logits[i], rtol=1e-9, atol=1e-12)


def test_one_threshold_for_all_is_one_for_each():
    model, x = lstm().float(), SpikeSequences(inputs(1).steps, T)
    with torch.no_grad():
        p = torch.softmax(trace(model, x), dim=-1).amax(dim=-1)
    theta = float(p[2, 5])  # a number of float32, reached exactly
    one, each = run(model, x, theta), run(model, x, torch.full((B,), theta, dtype=torch.float64))
    assert one.decision.step[5] <= 2
    assert torch.equal(one.decision.step, each.decision.step)
    p = torch.full((B,), 0.7)  # below 0.7 in float64, and compared in its own precision
    assert crossed(p, torch.full((B,), 0.7, dtype=torch.float64)).all()
    assert crossed(p, 0.7).all()


def test_data_sets_and_streams_take_a_threshold_for_each_sample():
    model, x, theta = lstm(), inputs(2), thetas()
    whole = run(model, x, theta).decision
    parts = decide(model, x, theta, batch_size=7)
    assert torch.equal(whole.step, parts.step)
    stream = StreamingRunner(model, 0.5, T)
    for i in range(B):
        stream.reset(float(theta[i]))
        one, frames = None, iter(x.rows(torch.tensor([i])).at(t) for t in range(T))
        while one is None:
            one = stream.step(next(frames)[0])
        assert (one.step.item(), one.fired.item()) == (whole.step[i], whole.fired[i])
    stream.reset()
    assert stream.theta == float(theta[-1])


@pytest.mark.parametrize(
    ("theta", "match"),
    [
        (torch.full((3,), 0.5), r"\[40\] with one for each sample, got torch.float32 \[3\]"),
        (torch.full((B,), 1), "got torch.int64"),
        (torch.full((B,), 1.0), r"in \(0, 1\), got 1\.\.1"),
        (torch.tensor([math.nan] * B), r"in \(0, 1\)"),
    ],
)
def test_thresholds_that_are_none_are_refused(theta, match, as_user):
    for ask in (run, run_with_prefix, decide):
        with pytest.raises(ValueError, match=match):
            ask(lstm(), inputs(0), theta)


@pytest.mark.parametrize("make", [lstm, conv])
@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("theta", [0.6, "each", None])
def test_the_prefix_is_the_trace_up_to_each_decision_with_its_gradients(make, fused, theta):
    """Against every step of every sample, the later ones masked out."""
    model, x, target = make(), inputs(3), labels(3)
    theta = thetas() if theta == "each" else theta
    slow = copy.deepcopy(model)
    found = run_with_prefix(model, x, theta, fused=fused)
    z, step = trace(slow, x, fused=False, training=True), found.decision.step
    assert torch.equal(step, run(slow, x, theta, fused=False).decision.step)
    seen = torch.arange(T)[:, None] <= step
    assert len(found.prefix) == int(seen.sum())
    assert torch.equal(found.sample, seen.nonzero()[:, 1]), "step by step, and nothing later"
    torch.testing.assert_close(found.prefix, z[seen], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found.logits, z[step, torch.arange(B)], rtol=1e-9, atol=1e-12)

    loss = rc_loss(found.logits, target, 0.1) + 0.7 * prefix_loss(
        found.prefix, found.sample, target
    )
    log_p = torch.log_softmax(z, dim=-1)
    right = -log_p.gather(2, target.expand(T, -1)[..., None])[..., 0]
    entropy = -(log_p.exp() * log_p).sum(-1)
    expected = 0.0
    for i in range(B):
        end = int(step[i])
        expected = (
            expected + right[end, i] - 0.1 * entropy[end, i] + 0.7 * right[: end + 1, i].mean()
        )
    expected = expected / B
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=0)
    loss.backward()
    expected.backward()
    for ours, theirs in zip(model.parameters(), slow.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-8, atol=1e-11)


def test_the_loss_of_all_steps_is_that_of_every_step():
    model, x, target = lstm(), inputs(4), labels(4)
    found = run_with_prefix(model, x, None)
    whole = every_step_loss(trace(model, x), target)
    torch.testing.assert_close(prefix_loss(found.prefix, found.sample, target), whole)
    first = run_with_prefix(model, x, 1e-6)
    torch.testing.assert_close(
        prefix_loss(first.prefix, first.sample, target), rc_loss(first.logits, target)
    )


def test_a_sample_alone_and_one_that_is_silent_to_the_end():
    model, x = lstm(), inputs(5, n=1)
    found = run_with_prefix(model, x, 1 - 1e-12)
    assert found.sample.tolist() == [0] * T
    assert not found.decision.fired.any()
    with torch.no_grad():
        assert not run_with_prefix(model, x, 0.5).logits.requires_grad


def test_a_loss_of_samples_without_steps_is_refused():
    z = torch.zeros(3, 2)
    for sample, target in ((torch.tensor([0, 0, 2]), [0, 1, 0]), (torch.tensor([0, 1, 2]), [0, 1])):
        with pytest.raises(ValueError, match=r"needs a step at least"):
            prefix_loss(z, sample, torch.tensor(target))
    with pytest.raises(ValueError, match=r"Class indices must be in 0\.\.1, got 2"):
        prefix_loss(z, torch.tensor([0, 0, 1]), torch.tensor([0, 2]))


def test_no_step_after_the_last_decision_is_computed():
    class Counting(RCLSTM):
        steps = 0

        def step(self, x, state):
            self.steps += 1
            return super().step(x, state)

    model = loud(Counting(N, 9, K, generator=generator(0)), 4.0)
    found = run_with_prefix(model, inputs(6), torch.full((B,), 0.3, dtype=torch.float64))
    assert model.steps == int(found.decision.step.max()) + 1


@pytest.mark.parametrize("prefix", [False, True])
def test_multiply_adds_of_training_are_those_that_torch_counts(prefix):
    model, target, theta = RCLSTM(N, 9, K).double(), labels(7), thetas()
    loud(model, 4.0)
    x = DenseSequences(torch.rand(T, B, N, generator=generator(7), dtype=torch.float64))
    with FlopCounterMode(display=False) as counter:
        if prefix:
            found = run_with_prefix(model, x, theta, fused=False)
            loss = rc_loss(found.logits, target) + prefix_loss(found.prefix, found.sample, target)
        else:
            found = run(model, x, theta, fused=False)
            loss = rc_loss(found.logits, target)
        loss.backward()
    step = found.decision.step
    assert {0, 1, T - 1} <= set(step.tolist())
    counted = training_macs(step, model.cost(), prefix=prefix).sum()
    assert counter.get_total_flops() == 2 * int(counted)


def test_thresholds_are_uniform_in_log_odds_between_their_bounds():
    drawn = draw_thetas(100_000, 0.3, 0.99, generator(0))
    assert drawn.min() >= 0.3
    assert drawn.max() <= 0.99
    low, high = math.log(0.3 / 0.7), math.log(0.99 / 0.01)
    for share in (0.1, 0.5, 0.9):  # quantiles of the uniform law, by hand
        middle = 1.0 / (1.0 + math.exp(-(low + share * (high - low))))
        assert (drawn < middle).double().mean().item() == pytest.approx(share, abs=0.005)
    assert torch.equal(drawn[:5], draw_thetas(100_000, 0.3, 0.99, generator(0))[:5])
    for low, high in ((0.5, 0.5), (0.9, 0.3), (0.0, 0.5), (0.5, 1.0), (math.nan, 0.5)):
        with pytest.raises(ValueError, match=r"theta"):
            draw_thetas(3, low, high, generator(0))


def task(seed: int, n: int = 128) -> Labelled:
    """Classes that show at once in half of the samples, and at the end in the others."""
    target = torch.randint(K, (n,), generator=generator(seed))
    frames = 0.3 * torch.randn(T, n, N, generator=generator(seed + 1))
    shown = frames[:, torch.arange(n), target]
    shown[T - 1] += 3.0
    shown[0] += 3.0 * (torch.arange(n) % 2)
    frames[:, torch.arange(n), target] = shown
    return Labelled(DenseSequences(frames), target)


def small() -> RCLSTM:
    return RCLSTM(N, 16, K, dense_input=True, generator=generator(1))


RANDOM = {"epochs": 4, "batch_size": 32, "beta": 0.0, "lr": 1e-2, "theta_low": 0.3}
RANDOM |= {"theta_high": 0.99, "prefix": 1.0}


def test_one_epoch_is_adam_on_the_loss_with_the_thresholds_of_the_runs_generator(tmp_path):
    data, net, reference = task(0, n=64), small(), small()
    config = TrainConfig(**RANDOM | {"epochs": 1})
    train(net, data, data, config, tmp_path)
    optimizer = torch.optim.Adam(reference.parameters(), lr=config.lr)
    own = generator(0)
    order = torch.randperm(64, generator=own)
    for part in order.split(32):
        batch, theta = data.rows(part), draw_thetas(32, 0.3, 0.99, own)
        z = trace(reference, batch.inputs, fused=False, training=True)
        p = torch.softmax(z, dim=-1)
        fired = p.amax(-1) >= theta.float()
        step = torch.where(fired.any(0), fired.int().argmax(0), T - 1)
        right = -p.gather(2, batch.labels.expand(T, -1)[..., None]).log()[..., 0]
        at, upto = right[step, torch.arange(32)], torch.arange(T)[:, None] <= step
        loss = (at + (right * upto).sum(0) / (step + 1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for ours, theirs in zip(net.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=2e-6)


def test_a_stopped_run_goes_on_with_the_thresholds_that_it_would_have_drawn(tmp_path):
    whole, stopped = small(), small()
    config = TrainConfig(**RANDOM)
    train(whole, task(0), task(1), config, tmp_path / "whole")
    for epochs in (2, 4):
        stopped = small()
        train(stopped, task(0), task(1), TrainConfig(**RANDOM | {"epochs": epochs}), tmp_path / "b")
    for a, b in zip(whole.parameters(), stopped.parameters(), strict=True):
        assert torch.equal(a, b)
    law = checkpoint.read(tmp_path / "b" / "checkpoint.pt")["run"]
    assert (law["theta_low"], law["theta_high"], law["prefix"]) == (0.3, 0.99, 1.0)
    other = TrainConfig(**RANDOM | {"theta_high": 0.9})
    with pytest.raises(ValueError, match=r"theta_high is 0.99 there, 0.9 here"):
        train(small(), task(0), task(1), other, tmp_path / "b")


def test_a_checkpoint_from_before_these_options_is_gone_on_with(tmp_path):
    old = {"epochs": 2, "batch_size": 32}
    train(small(), task(0), task(1), TrainConfig(**old), tmp_path)
    path = tmp_path / "checkpoint.pt"
    state = checkpoint.read(path)
    for name in ("theta_low", "theta_high", "prefix"):
        del state["run"][name]
    checkpoint.write(path, state)
    result = train(small(), task(0), task(1), TrainConfig(**old | {"epochs": 3}), tmp_path)
    assert len(result.history) == 3
    checkpoint.write(path, state)
    with pytest.raises(ValueError, match=r"prefix is None there, 1.0 here"):
        train(small(), task(0), task(1), TrainConfig(**old | {"prefix": 1.0}), tmp_path)


def test_judged_by_the_area_the_epoch_with_the_largest_is_kept(tmp_path):
    config = TrainConfig(**RANDOM | {"epochs": 8, "judge": "area"})
    net = small()
    result = train(net, task(0), task(1), config, tmp_path)
    areas = [row["val_area"] for row in result.history]
    assert result.best_epoch == areas.index(max(areas))
    z = trace(net, task(1).inputs).double()
    right, best = right_answers(z, task(1).labels), []
    for budget in range(T):  # each budget's best threshold by trying all that there are
        found = [0.0]
        for limit in torch.cat([torch.tensor([-torch.inf]), log_odds(z).flatten()]).tolist():
            reached = log_odds(z) >= limit
            step = torch.where(reached.any(0), reached.int().argmax(0), T - 1)
            if step.double().mean() <= budget + 1e-9:
                found.append(right[step, torch.arange(len(step))].double().mean().item())
        best.append(max(found))
    assert max(areas) == pytest.approx(sum(best) / T, abs=1e-6)
    curve = sweep(log_odds(z), right, every_threshold(log_odds(z)))
    assert area(curve, curve, torch.arange(float(T))) == pytest.approx(max(areas), abs=1e-6)


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"theta_low": 0.3}, "belong together"),
        ({"theta_low": 0.9, "theta_high": 0.3}, "theta_low < theta_high"),
        ({"theta_low": 0.0, "theta_high": 0.9}, r"theta must be in \(0, 1\)"),
        ({"prefix": -1.0}, "prefix must be finite and >= 0"),
        ({"prefix": math.nan}, "prefix must be finite and >= 0"),
        ({"method": "eos", "prefix": 1.0}, "for method rc; eos has no spike"),
        ({"method": "eos", "theta_low": 0.3, "theta_high": 0.9}, "for method rc"),
        ({"judge": "areas"}, "judge must be"),
    ],
)
def test_options_that_make_no_sense_are_refused(wrong, match, as_user):
    with pytest.raises(ValueError, match=match):
        TrainConfig(**wrong)


def test_the_law_of_thresholds_is_a_record(as_user):
    config = TrainConfig(theta_low=0.3, theta_high=0.99)
    assert json.loads(json.dumps(asdict(config)))["theta_high"] == 0.99
