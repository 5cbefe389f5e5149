"""Tables, numbers with their errors, and figures, as every task writes them."""

import math
from itertools import product
from math import comb

import matplotlib.pyplot as plt
import numpy as np
import pytest

from benchmarks.report import figures, numbers, tables

ROWS = [["", "accuracy %"], ["rank coding", "99.94"], ["θ", "7"]]


def test_columns_are_as_wide_as_their_widest_cell_and_aligned_as_asked():
    lines = tables.text(ROWS, "<>", gap=" | ")
    assert [line.split(" | ") for line in lines] == [
        ["           ", "accuracy %"],
        ["rank coding", "     99.94"],
        ["θ          ", "         7"],
    ]
    assert len(set(map(len, lines))) == 1


def test_the_last_sign_and_width_hold_for_the_rest():
    assert tables.text([list("abc")], "<>", widths=(2, 3), gap="") == ["a   b  c"]


def test_a_cell_wider_than_its_column_moves_only_its_own_line():
    wide, other = tables.text([["12345", "x"], ["1", "x"]], ">", widths=(3, 2), gap="")
    assert (wide, other) == ("12345 x", "  1 x")


def test_no_line_ends_in_blanks_that_only_fill_a_left_column():
    assert tables.text([["a", "bcd"], ["e", "f"]], rule=True) == ["a  bcd", "-  ---", "e  f"]


def test_rows_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match=r"they have \[2, 1\]"):
        tables.text([["a", "b"], ["c"]])


def test_a_table_of_nothing_has_no_lines():
    assert tables.text([]) == []


def test_half_of_the_t_interval_is_that_of_the_textbook():
    # Two values: t of one degree of freedom is tan(0.475 π), and s / sqrt(2) half their distance.
    mean, half = numbers.seed_interval([1.0, 4.0])
    assert mean == 2.5
    assert half == pytest.approx(math.tan(0.475 * math.pi) * 1.5)
    assert math.isnan(numbers.seed_interval([1.0])[1])


@pytest.mark.parametrize(
    ("values", "shown"), [([7.0, 7.5], "+7.25 ±3.18*"), ([0.0, 0.5], "+0.25 ±3.18")]
)
def test_a_star_marks_an_interval_without_zero(values, shown):
    assert numbers.mean_and_half(values, signed=True, starred=True) == shown


@pytest.mark.parametrize(("correct", "n"), [(0, 10), (3, 12), (90, 100), (100, 100)])
def test_the_interval_of_a_count_leaves_a_fortieth_of_the_binomial_on_either_side(correct, n):
    def at_least(k: int, p: float) -> float:
        return sum(comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k, n + 1))

    low, high = numbers.count_interval(correct, n)
    assert low == 0.0 if correct == 0 else at_least(correct, low) == pytest.approx(0.025)
    assert high == 1.0 if correct == n else 1 - at_least(correct + 1, high) == pytest.approx(0.025)


def test_the_bootstrap_takes_percentiles_of_the_means_of_all_resamples():
    values = [0.0, 1.0, 5.0, 6.0]
    means = [np.mean(drawn) for drawn in product(values, repeat=4)]  # every resample there is
    exact = np.quantile(means, [0.025, 0.975], method="inverted_cdf")
    assert numbers.bootstrap_interval(values) == pytest.approx(exact, abs=0.26)


def test_infinity_becomes_none_at_any_depth():
    found = numbers.without_infinity({"a": [math.inf, {"b": -math.inf}], "c": 1, "d": True})
    assert found == {"a": [None, {"b": None}], "c": 1, "d": True}


def test_a_figure_is_in_the_style_and_leaves_the_same_bytes_twice(tmp_path):
    for name in ("a", "b"):
        figure, axis = figures.subplots()
        axis.plot([1, 2], label="line")
        assert not axis.spines["top"].get_visible()
        assert not axis.legend().get_frame_on()
        figures.save(figure, tmp_path / f"{name}.png")
        assert not plt.fignum_exists(figure.number)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "b.png"]
