"""What was kept in this folder is what the code says now: see golden_values.py."""

import json

import golden_values
import numpy as np
import pytest

KEPT = np.load(golden_values.HERE / "decisions.npz")


def kept(name: str) -> dict:
    return json.loads((golden_values.HERE / f"{name}.json").read_text())


def test_every_run_of_every_task_has_the_name_that_it_had():
    now, before = golden_values.names(), kept("names")
    assert now.keys() == before.keys()
    for key in before:
        assert now[key] == before[key], key


@pytest.mark.slow
def test_texts_that_are_generated_from_records_are_the_same_to_the_byte():
    assert golden_values.texts() == kept("texts")


def test_checkpoints_and_logs_have_the_fields_that_they_had():
    assert golden_values.fields() == kept("fields")


@pytest.mark.slow
def test_every_network_that_ships_decides_as_it_did():
    seen = []
    for name, decision in golden_values.decisions():
        now = golden_values.as_arrays(decision)
        assert {f"{name}/{key}" for key in now} == {
            k for k in KEPT.files if k.startswith(f"{name}/")
        }
        for key, value in now.items():
            before = KEPT[f"{name}/{key}"]
            if key == "time":
                np.testing.assert_allclose(value, before, rtol=0, atol=1e-12, err_msg=name)
            else:
                np.testing.assert_array_equal(value, before, err_msg=f"{name} {key}")
        seen.append(name)
    assert sorted(seen) == sorted({key.split("/")[0] for key in KEPT.files})
