"""Every model of the package answers the same 200 images with the same kind of Decision."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

from baselines.alpha_psp import alpha_psp
from baselines.conv import conv_rel_psp
from baselines.lif import RCLIF, TTFSLIF, NorseLIF, SnnTorchLIF
from baselines.rel_psp import rel_psp
from encoders import embedded_digits, encode_latency
from rc_snn import RCLSTM, RCConvLSTM, SpikeSequences, account, decide, load, spike_steps
from rc_snn.spikes import Decision

N_STEPS = 10
Decide = Callable[[torch.Tensor], Decision]


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def stepped(times: torch.Tensor, n_steps: int = N_STEPS) -> SpikeSequences:
    return SpikeSequences(spike_steps(times, n_steps), n_steps)


def runner(make: Callable[[], Any], times: torch.Tensor) -> Decision:
    return decide(make(), stepped(times), 0.95)


def shipped(name: str, times: torch.Tensor) -> Decision:
    net = load(name)
    return net.decide(times)


MODELS: dict[str, Decide] = {
    "RC-LSTM": partial(runner, lambda: RCLSTM(784, 20, 10, generator=seeded())),
    "RC-ConvLSTM": partial(runner, lambda: RCConvLSTM((2,), 3, generator=seeded())),
    "RC-LIF snnTorch": partial(runner, lambda: RCLIF(SnnTorchLIF(), n_hidden=20)),
    "RC-LIF norse": partial(runner, lambda: RCLIF(NorseLIF(), n_hidden=20)),
    "LIF snnTorch": lambda x: TTFSLIF(SnnTorchLIF(), n_hidden=20).decide(stepped(x)),
    "LIF norse": lambda x: TTFSLIF(NorseLIF(), n_hidden=20).decide(stepped(x)),
    "α-PSP": lambda x: alpha_psp((784, 20, 10), generator=seeded()).decide(x),
    "ReL-PSP": lambda x: rel_psp((784, 20, 10), generator=seeded()).decide(x),
    "ReL-PSP at the frame's end": lambda x: rel_psp((784, 20, 10), generator=seeded()).decide(
        x, fallback=True
    ),
    "ConvReL-PSP": lambda x: conv_rel_psp((2, 3), (9,), generator=seeded()).decide(x),
}
MODELS |= {name: partial(shipped, name) for name in zoo.names()}
MODELS |= {n: lambda x, n=n: load(n).decide(x) for n in baselines_zoo.names()}


@pytest.fixture(scope="module")
def digits():
    held = embedded_digits().test
    part = torch.arange(0, 1000, 5)
    times = encode_latency(held.images[part], zero_pixels="silent")
    times[7] = torch.inf  # and a blank image
    return times, held.labels[part]


@pytest.mark.parametrize("name", MODELS)
def test_a_model_keeps_the_contract(name, digits):
    times, labels = digits
    before = times.clone()
    decision = MODELS[name](times)
    assert torch.equal(times, before), "the input is not written to"
    assert len(decision) == 200
    assert decision.label.dtype == torch.int64
    assert decision.label.shape == decision.time.shape == decision.fired.shape == (200,)
    assert decision.scores.shape == (200, 10)
    assert decision.fired.dtype == torch.bool
    assert decision.scores.isfinite().all()
    assert ((decision.label >= 0) & (decision.label < 10)).all()
    assert (decision.time >= 0).all()
    assert not decision.time.isnan().any()
    assert not decision.scores.requires_grad
    n_steps = None
    if decision.step is None:
        assert decision.time[decision.fired].isfinite().all()
        # Silence has no time, unless the potentials answer at the end of the frame.
        forced = decision.time[~decision.fired]
        assert (forced.isinf() | (forced == 1.0)).all()
    else:
        n_steps = round(float(((decision.step + 1) / decision.time).median()))
        torch.testing.assert_close(
            decision.time.double(), (decision.step + 1).double() / n_steps, rtol=0, atol=1e-6
        )
        assert ((decision.step >= 0) & (decision.step < n_steps)).all()
        assert (decision.step[~decision.fired] == n_steps - 1).all()
    again = MODELS[name](times)
    assert torch.equal(again.label, decision.label)
    assert torch.equal(again.time, decision.time)
    report = account(decision, labels, times, n_steps)
    assert report.fired + report.forced == report.n == 200
    assert report.correct <= 200
    assert report.strict_clock.share_within <= 1.0
    assert {report.step_clock.regime, report.strict_clock.regime} <= {"fast", "between", "slow"}
