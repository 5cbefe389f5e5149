"""Networks that ship: each answers the test set again, beside what its record says."""

import sys
from collections.abc import Iterator

import torch

from encoders.functional import encode
from encoders.mnist import Digits, Split
from rc_snn.network import Network, load, names
from rc_snn.spikes import Decision


def evaluate_shipped(digits: Digits) -> int:
    """Evaluate every shipped network on the test set, beside its record; return the exit status."""
    print(
        f"{'shipped network':<40} {'accuracy %':>10} {'record %':>9} {'mean time':>10} {'fired':>6}"
    )
    failed = False
    for net, decision in shipped_decisions(digits.test):
        right = (decision.label == digits.test.labels) & torch.isfinite(decision.time)
        correct = int(right.sum())
        failed |= correct != net.measured["correct"]
        print(
            f"{net.name:<40} {100 * correct / len(right):>10.2f} "
            f"{100 * net.measured['accuracy']:>9.2f} {decision.time.double().mean():>10.3f} "
            f"{int(decision.fired.sum()):>6}"
        )
    print("mean time: in frames, when the answer is out (the strict clock)\n")
    if failed:
        print("a network differs from its record on this machine", file=sys.stderr)
    return 1 if failed else 0


def shipped_decisions(test: Split) -> Iterator[tuple[Network, Decision]]:
    """Yield every shipped network that reads spike times of images, and its decisions."""
    for name in names():
        net = load(name)
        if net.reads == "times":
            yield net, net.decide(encode(test.images, **net.encoder))
