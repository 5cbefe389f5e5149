"""Operations of Table 1's rows, counted again from the networks that ship.

Records that were made before spikes between layers were counted say of them what dense products
would take. `python -m benchmarks.table1.recount` runs the weights of each such row on the test set
again, holds the answers to the record's, replaces synops_ac and synops_mac, and says so in the
record. It measures nothing else, and what is right already is left as it is.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks import record
from benchmarks.record import Record
from encoders.functional import encode
from encoders.mnist import Split, load_mnist
from rc_snn import commands, network
from rc_snn.network import Network
from rc_snn.progress import progress, say
from rc_snn.step_model import WatchedModel

COUNTS = ("synops_ac", "synops_mac")
SAME = ("n", "correct", "fired", "macs", "decided_at_step", "correct_at_step")
"""What must come out as the record has it."""


@dataclass(frozen=True)
class Recount:
    """Count the operations of shipped networks of spiking layers again."""

    data: Path | None = None
    """Folder with MNIST; default: where every command looks."""
    results: Path = record.RESULTS
    """Where records are."""


def recounted(done: Record, net: Network, test: Split, source: record.Source) -> Record:
    """Return a record with its operations counted anew; the same one if they were right.

    Raises:
        ValueError: if the network does not answer as the record says.
    """
    metrics = net.account(test.labels, encode(test.images, **net.encoder))
    if other := [name for name in SAME if metrics[name] != done.metrics[name]]:
        raise ValueError(
            f"{net.name} does not answer as {done.name} says: {', '.join(other)} differ. Its "
            "operations belong to other answers; the record was left as it is."
        )
    before = {name: done.metrics[name] for name in COUNTS}
    now: dict[str, Any] = {name: metrics[name] for name in COUNTS}
    if now == before:
        return done
    note = {
        "what": "hidden spikes as spikes, no longer as dense; from the shipped weights, whose "
        "answers are the record's",
        "before": before,
        "command": "python -m benchmarks.table1.recount",
        "commit": source.commit,
        "dirty": source.dirty,
    }
    return replace(done, metrics=done.metrics | now | {"recounted": note})


def main(options: Recount) -> None:
    """Count again, and write the records that change."""
    digits, source = load_mnist(options.data), record.source()
    folder = options.results / "table1"
    known = {r.name: r for r in record.read_all(folder)}
    for net in map(network.load, progress(network.names(), "count", unit="networks")):
        done = known.get(net.record)
        if done is None or not isinstance(net.model, WatchedModel):
            continue
        if (name := done.config["data"]) != digits.name:
            raise ValueError(f"{done.name} is on {name}, got {digits.name}. Name it with --data.")
        after = recounted(done, net, digits.test, source)
        if after is not done:
            record.save(after, folder)
        was, now = (" + ".join(f"{r.metrics[n]:,.1f}" for n in COUNTS) for r in (done, after))
        say(f"{net.name}: AC + MAC {was} -> {now}", error=False)


if __name__ == "__main__":
    commands.run(main, Recount)
