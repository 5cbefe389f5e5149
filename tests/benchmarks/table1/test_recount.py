"""Operations counted again, and their columns: only counts change, and the record says so."""

from dataclasses import replace

import pytest
import torch

from benchmarks import record
from benchmarks.table1 import table
from benchmarks.table1.recount import recounted
from encoders.functional import encode
from encoders.mnist import embedded_digits
from encoders.temporal_mnist import take
from rc_snn.network import load


@pytest.fixture(scope="module")
def stale():
    """A network, 200 digits, and a record of them with hidden spikes as dense products."""
    net, digits = load("rc-lif-snntorch"), embedded_digits()
    test = take(digits.test, torch.arange(0, 1000, 5))
    metrics = net.account(test.labels, encode(test.images, **net.encoder))
    dense = 3400.0 * (metrics["time_to_insight"] + 1)
    old = metrics | {"synops_ac": metrics["synops_ac"] - 500.0, "synops_mac": dense}
    [known] = [r for r in table.paper_records(record.RESULTS / "table1") if r.name == net.record]
    return net, test, metrics, replace(known, metrics=old)


def test_counts_are_replaced_nothing_else_and_the_record_says_so(stale):
    net, test, metrics, old = stale
    source = record.Source("c0ffee", False)
    new = recounted(old, net, test, source)
    changed = {k for k in new.metrics if new.metrics[k] != old.metrics.get(k)}
    assert changed == {"synops_ac", "synops_mac", "recounted"}
    assert new.metrics["synops_ac"] == metrics["synops_ac"]
    assert new.metrics["synops_mac"] == 0.0
    note = new.metrics["recounted"]
    assert note["before"] == {k: old.metrics[k] for k in ("synops_ac", "synops_mac")}
    assert note["commit"] == "c0ffee"
    assert replace(new, metrics=old.metrics) == old
    assert recounted(new, net, test, source) is new, "a second time there is nothing to do"


def test_a_record_of_other_answers_is_left_as_it_is(stale):
    net, test, _, old = stale
    other = replace(old, metrics=old.metrics | {"correct": old.metrics["correct"] - 1})
    with pytest.raises(ValueError, match=r"does not answer as .* correct differ"):
        recounted(other, net, test, record.source())


def test_every_measured_row_has_synops_and_dense_products_in_columns_of_their_own():
    records = table.paper_records(record.RESULTS / "table1")
    lines = table.table1(records, "MNIST", "markdown").splitlines()
    rows = [
        [cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines if "|" in line
    ]
    header = rows[0]
    ops, dense, grid = (header.index(x) for x in ("MSynOps", "dense MMACs (of full)", "input"))
    measured = [row for row in rows[2:] if row[4] != "—"]
    assert len(measured) > 20
    for row in measured:
        ac, mac = row[ops].removesuffix(" MAC").split(" AC + ")
        assert float(ac) > 0
        continuous = "continuous" in row[grid]
        assert (row[dense] == "—") is continuous
        assert not continuous or float(mac) == 0
        if not continuous:
            assert float(ac) + float(mac) <= float(row[dense].split(" ")[0]) + 0.005


def test_lif_rows_take_accumulates_only():
    found = [r for r in table.paper_records(record.RESULTS / "table1") if "lif" in r.config["row"]]
    assert len({r.config["row"] for r in found}) == 4
    for r in found:
        assert r.metrics["synops_mac"] == 0.0
        assert r.metrics.get("recounted", {"dirty": False})["dirty"] is False
