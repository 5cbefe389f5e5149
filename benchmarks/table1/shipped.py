"""Networks that ship: each answers the test set again, beside what its record says."""

import sys
from collections.abc import Collection, Iterator

import torch

from encoders.functional import encode
from encoders.mnist import Digits
from rc_snn.network import Network, load, names
from rc_snn.progress import progress, say


def evaluate_shipped(digits: Digits, rows: Collection[str] = ()) -> int:
    """Evaluate shipped networks on the test set, beside their records; return the exit status.

    Args:
        digits: what they answer.
        rows: the rows whose networks are evaluated; default: all.
    """
    print(
        f"{'shipped network':<40} {'accuracy %':>10} {'record %':>9} {'mean time':>10} {'fired':>6}"
    )
    failed = False
    for net in _shipped(digits, rows):
        try:
            decision = net.decide(encode(digits.test.images, **net.encoder))
        except ImportError as error:  # of a library that an extra installs
            say(f"{net.name:<40} {'—':>10} {100 * net.measured['accuracy']:>9.2f}", error=False)
            say(f"{net.name} was not measured: {error}")
            continue
        right = (decision.label == digits.test.labels) & torch.isfinite(decision.time)
        correct = int(right.sum())
        failed |= correct != net.measured["correct"]
        say(
            f"{net.name:<40} {100 * correct / len(right):>10.2f} "
            f"{100 * net.measured['accuracy']:>9.2f} {decision.time.double().mean():>10.3f} "
            f"{int(decision.fired.sum()):>6}",
            error=False,
        )
    print("mean time: in frames, when the answer is out (the strict clock)\n")
    if failed:
        print("a network differs from its record on this machine", file=sys.stderr)
    return 1 if failed else 0


def _shipped(digits: Digits, rows: Collection[str]) -> Iterator[Network]:
    """Yield the networks that read spike times of images, of these rows; default: of all."""
    what = f"decide {len(digits.test.labels):,} images"
    for net in map(load, progress(names(), what, unit="networks")):
        if net.reads == "times" and (not rows or row_of_record(net.record) in rows):
            yield net


def row_of_record(name: str) -> str:
    """Return the row in the name of a record of ours.

    Example:
        >>> row_of_record("paper_rc-lstm-fast_tuned_MNIST_dark_first_T10_held-out_seed0_219e5eed51")
        'rc-lstm-fast'
    """
    return name.split("_")[1] if "_" in name else ""
