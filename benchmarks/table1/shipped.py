"""Networks that ship: each answers the test set again, beside what its record says."""

import sys
from collections.abc import Iterator
from typing import Any

import torch

from baselines import zoo as baselines_zoo
from encoders.functional import encode
from encoders.mnist import Digits, Split
from encoders.temporal_mnist import latency_sequences
from rc_snn import zoo
from rc_snn.runner import decide
from rc_snn.spikes import Decision


def evaluate_shipped(digits: Digits) -> int:
    """Evaluate every shipped network on the test set, beside its record; return the exit status."""
    print(
        f"{'shipped network':<40} {'accuracy %':>10} {'record %':>9} {'mean time':>10} {'fired':>6}"
    )
    failed = False
    for name, measured, decision in shipped_decisions(digits.test):
        right = (decision.label == digits.test.labels) & torch.isfinite(decision.time)
        correct = int(right.sum())
        failed |= correct != measured["correct"]
        print(
            f"{name:<40} {100 * correct / len(right):>10.2f} {100 * measured['accuracy']:>9.2f} "
            f"{decision.time.double().mean():>10.3f} {int(decision.fired.sum()):>6}"
        )
    print("mean time: in frames, when the answer is out (the strict clock)\n")
    if failed:
        print("a network differs from its record on this machine", file=sys.stderr)
    return 1 if failed else 0


def shipped_decisions(test: Split) -> Iterator[tuple[str, dict[str, Any], Decision]]:
    """Yield name, record's figures and decisions of every shipped network and baseline."""
    for name in zoo.names():
        net = zoo.load(name)
        data = latency_sequences(test, net.n_steps, **net.encoder, mean=net.mean)
        yield name, net.measured, decide(net.model, data.inputs, net.theta)
    for name in baselines_zoo.names():
        baseline = baselines_zoo.load(name)
        times = encode(test.images, **baseline.encoder)
        yield name, baseline.measured, baseline.decide(times)
