"""Plots show what is so: spikes where they are, counts that sum, θ where it is crossed."""

import subprocess
import sys

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt

from bridges.stream.stream import SpikeStream
from rc_snn import exits, plots
from rc_snn.exits import Curve
from rc_snn.models import RCLSTM
from rc_snn.regimes import account
from rc_snn.runner import decide
from rc_snn.runner import trace as logits_of
from rc_snn.sequences import DenseSequences, SpikeSequences
from rc_snn.spikes import Decision, decision_spikes, spike_frames

T, N = 7, 40


@pytest.fixture(autouse=True)
def _put_away(monkeypatch):
    matplotlib.rcdefaults()
    matplotlib.use("Agg")
    yield
    plt.close("all")


def steps(seed=0):
    return torch.randint(T + 1, (3, N), generator=torch.Generator().manual_seed(seed))


def drawn(ax):
    """The points of a raster, as (time, unit)."""
    return sorted(map(tuple, ax.collections[-1].get_offsets().tolist()))


def wanted(row, scale=1.0):
    return sorted((scale * t, float(u)) for u, t in enumerate(row.tolist()) if t < T)


def test_a_raster_draws_each_spike_once_and_no_other_whatever_holds_them():
    s = steps()
    z = spike_frames(s, T)
    forms = [SpikeSequences(s, T), DenseSequences(z), z, z.numpy()]
    assert 0 < len(wanted(s[1])) < N, "the test must have spikes, and silent units"
    for form in forms:
        assert drawn(plots.raster(form, sample=1)) == wanted(s[1])
    assert drawn(plots.raster(s, sample=1, n_steps=T)) == wanted(s[1])
    assert drawn(plots.raster(s[1], n_steps=T)) == wanted(s[1])
    units, times = zip(*[(u, t) for t, u in wanted(s[1])], strict=True)
    assert drawn(plots.raster((times, units))) == wanted(s[1])


def test_a_centred_input_has_the_spikes_of_its_steps():
    """Its dense input is nowhere zero."""
    s = steps()
    centred = SpikeSequences(s, T, mean=torch.full((T, N), 0.5))
    assert drawn(plots.raster(centred)) == wanted(s[0])


def test_a_stream_is_drawn_in_milliseconds_with_all_spikes_of_a_unit():
    stream = SpikeStream.silent(2, 4, 9, dt_s=5e-3)
    stream = stream.with_spikes([1, 1, 1, 0], [2, 8, 8, 0], [3, 3, 0, 1])
    ax = plots.raster(stream, sample=1)
    assert drawn(ax) == [(10.0, 3.0), (40.0, 0.0), (40.0, 3.0)]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("time (ms)", "unit")
    assert ax.get_xlim() == (-2.5, 42.5)
    assert drawn(plots.raster(SpikeSequences(steps(), T), dt_s=1e-3)) == wanted(steps()[0], 1.0)


def test_times_in_frames_keep_their_values_and_silence_is_not_drawn():
    ax = plots.raster(torch.tensor([0.25, torch.inf, 1.5]))
    assert drawn(ax) == [(0.25, 0.0), (1.5, 2.0)]
    assert ax.get_xlabel() == "time (frames)"


def test_the_first_and_the_last_step_and_unit_are_within_the_axes():
    ax = plots.raster(SpikeSequences(torch.tensor([[0, T - 1]]), T))
    for (low, high), values in ((ax.get_xlim(), (0, T - 1)), (ax.get_ylim(), (0, 1))):
        assert low < values[0] < values[1] < high


def decisions(n=200, seed=0):
    g = torch.Generator().manual_seed(seed)
    fired = torch.rand(n, generator=g) < 0.8
    step = torch.where(fired, torch.randint(T, (n,), generator=g), T - 1)
    scores = torch.rand(n, 3, generator=g)
    return Decision.at_steps(step, T, fired, scores), torch.randint(3, (n,), generator=g)


def test_a_histograms_bars_are_the_counts_and_sum_to_all_samples():
    d, labels = decisions()
    bars = [bar.get_data() for bar in plots.histogram(d, n_steps=T).patches]
    at = [int(((d.step == t) & d.fired).sum()) for t in range(T)]
    assert bars[0].values.tolist() == at
    assert bars[0].edges.tolist() == [t - 0.5 for t in range(T + 1)]
    assert sum(at) + bars[1].values.sum() == len(d)
    assert bars[1].values.tolist() == [int((~d.fired).sum())]
    assert bars[1].edges.min() > T - 0.5, "who never fired stands apart"
    right = [bar.get_data().values for bar in plots.histogram(d, labels=labels, n_steps=T).patches]
    hit = d.label == labels
    assert right[1].tolist() == [int(((d.step == t) & d.fired & hit).sum()) for t in range(T)]
    assert right[3].tolist() == [int((~d.fired & hit).sum())]
    assert sum(int(r.sum()) for r in right[::2]) == len(d)


def test_a_histogram_of_an_account_and_of_its_counts_is_the_accounts():
    d, labels = decisions()
    a = account(d, labels, n_steps=T)
    all_, right = (bar.get_data().values.tolist() for bar in plots.histogram(a).patches)
    assert (all_, right) == (a.decided_at_step, a.correct_at_step)
    ms = np.arange(T + 1) * 20.0
    (bar,) = plots.histogram(a.decided_at_step, edges=ms).patches
    assert bar.get_data().values.tolist() == a.decided_at_step
    assert bar.get_data().edges.tolist() == ms.tolist()


def test_a_histogram_in_continuous_time_loses_no_sample():
    time = torch.tensor([0.1, 2.5, torch.inf, 0.1], dtype=torch.float64)
    d = Decision(torch.tensor([0, 1, 0, 1]), time, None, time.isfinite(), torch.zeros(4, 2))
    ax = plots.histogram(d)
    spikes, silent = (bar.get_data() for bar in ax.patches)
    assert spikes.values.sum() == 3
    assert silent.values.tolist() == [1]
    assert spikes.values[0] + spikes.values[1] + spikes.values[2] == 2, "0.1 of 2.5 frames"
    assert ax.get_xlabel() == "decision time (frames)"
    never = torch.full_like(time, torch.inf)
    nobody = Decision(d.label, never, None, never < 1.0, d.scores)
    assert [bar.get_data().values.sum() for bar in plots.histogram(nobody).patches] == [0, 4]


def test_a_frontier_is_the_upper_envelope():
    """By its definition, point by point: nobody earlier, or as early, is as accurate."""
    g = torch.Generator().manual_seed(3)
    time = torch.randint(20, (60,), generator=g).double()
    accuracy = torch.randint(50, (60,), generator=g) / 50.0
    points = list(zip(time.tolist(), accuracy.tolist(), strict=True))
    best = {
        (t, a) for t, a in points if all(a > b for s, b in points if s <= t and (s, b) != (t, a))
    }
    (line,) = plots.frontier(Curve(time, accuracy.double())).lines
    np.testing.assert_allclose(line.get_xydata(), [(t, 100 * a) for t, a in sorted(best)])
    (line,) = plots.frontier((time, accuracy), envelope=False).lines
    np.testing.assert_allclose(line.get_xydata(), [(t, 100 * a) for t, a in points], rtol=1e-6)


def test_a_band_lies_around_the_points_that_are_kept():
    half = [0.05, 0.01, 0.02]
    ax = plots.frontier(([1.0, 2.0, 3.0], [0.5, 0.25, 0.75]), half=half)
    (band,) = ax.collections
    inside = band.get_paths()[0].vertices
    assert {round(y) for x, y in inside if x == 1.0} == {45, 55}
    assert {round(y) for x, y in inside if x == 3.0} == {73, 77}
    assert not any(x == 2.0 for x, _ in inside)


@pytest.mark.parametrize("theta", [0.36, 0.5, 0.7, 0.99])
def test_a_trace_is_marked_where_decide_fires(theta):
    model = RCLSTM(5, 16, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.output.weight *= 12.0  # sure of something at some step
    inputs = DenseSequences(torch.rand(T, 12, 5, generator=torch.Generator().manual_seed(1)))
    decision, logits = decide(model, inputs, theta), logits_of(model, inputs)
    for i in range(len(decision)):
        ax = plots.trace(logits, theta, sample=i)
        marked = [line for line in ax.lines if line.get_markevery() is not None]
        assert len(marked) == int(decision.fired[i])
        for line in marked:
            (at,) = line.get_markevery()
            assert at == decision.step[i]
            assert line.get_ydata()[at] >= theta
            assert line.get_label() == f"class {decision.label[i]}"
        plt.close(ax.figure)


def test_a_trace_shows_all_classes_and_names_those_that_lead():
    logits = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0]]).unsqueeze(1)
    ax = plots.trace(logits, 0.95, classes=["no", "yes", "never"])
    *lines, theta = ax.lines
    p = logits[:, 0].softmax(dim=1)
    np.testing.assert_allclose(np.array([line.get_ydata() for line in lines]), p.T, rtol=1e-6)
    assert theta.get_ydata() == [0.95, 0.95]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["no", "yes", "θ = 0.95"]


def test_a_score_on_a_clock_holds_from_the_step_before_to_its_own_end():
    ax = plots.trace([0.2, 0.95, 0.99], 0.95, clock=[20.0, 40.0, 60.0])
    line = ax.lines[0]
    assert line.get_xdata().tolist() == [0.0, 20.0, 40.0, 60.0]
    assert line.get_ydata().tolist() == [0.2, 0.2, 0.95, 0.99]
    assert line.get_drawstyle() == "steps-pre"
    assert line.get_markevery() == [2], "at the end of the deciding step"


DRAW = {
    "raster": lambda ax: plots.raster(SpikeSequences(steps(), T), ax=ax),
    "frontier": lambda ax: plots.frontier(([0.0, 1.0], [0.5, 0.75]), label="a", ax=ax),
    "histogram": lambda ax: plots.histogram(decisions()[0], ax=ax),
    "trace": lambda ax: plots.trace([0.2, 0.97], 0.95, label="a", ax=ax),
}


@pytest.mark.parametrize("name", DRAW)
def test_axes_that_are_given_are_returned_and_keep_what_their_owner_said(name):
    figure, ax = plt.subplots()
    ax.set(xlabel="mine", ylabel="mine, too")
    assert DRAW[name](ax) is ax
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("mine", "mine, too")
    assert ax.get_legend() is None, "its owner writes it"
    assert plt.get_fignums() == [figure.number], "no figure beside"


@pytest.mark.parametrize("name", DRAW)
def test_axes_of_its_own_are_labelled_and_no_setting_stays(name):
    before = dict(plt.rcParams)
    ax = DRAW[name](None)
    assert ax.get_xlabel()
    assert ax.get_ylabel()
    assert (ax.get_legend() is not None) == (name in ("frontier", "trace"))
    assert dict(plt.rcParams) == before


REFUSED = [
    (lambda: plots.raster(steps()), ValueError, "need n_steps"),
    (lambda: plots.raster(steps(), n_steps=T, sample=3), ValueError, r"sample must be in 0\.\.2"),
    (lambda: plots.raster(torch.zeros(2, 2, 2, 2)), ValueError, r"\[time, batch, unit\]"),
    (lambda: plots.raster(torch.rand(4), dt_s=1e-3), ValueError, "times in frames"),
    (lambda: plots.raster(([1, 2], [1])), ValueError, r"\[2\] and \[1\]"),
    (lambda: plots.frontier(([0.0, 1.0], [0.5])), ValueError, r"accuracy must .* got \[1\]"),
    (lambda: plots.frontier(([], [])), ValueError, "at least one point"),
    (lambda: plots.histogram([1, 2], edges=[0, 1]), ValueError, "3 edges, got 2"),
    (lambda: plots.histogram([1, 2], edges=[0, 2, 1]), ValueError, "ascend"),
    (lambda: plots.histogram([1, 2], labels=[0]), ValueError, "belong to a Decision"),
    (lambda: plots.histogram(decisions()[0], n_steps=2), ValueError, "n_steps=2"),
    (lambda: plots.trace(torch.zeros(4, 3)), ValueError, "unsqueeze"),
    (lambda: plots.trace(torch.zeros(4, 1, 3), 1.5), ValueError, "theta"),
    (lambda: plots.trace([0.5, float("nan")], 0.9), ValueError, "NaN"),
    (lambda: plots.trace([0.5], clock=[1.0, 2.0]), ValueError, r"must be \[1\]"),
    (lambda: plots.trace([0.5], ax=[1]), TypeError, "ax must be axes"),
]


@pytest.mark.parametrize(("call", "kind", "words"), REFUSED)
@pytest.mark.usefixtures("as_user")
def test_what_cannot_be_drawn_is_refused_before_a_figure_is_made(call, kind, words):
    with pytest.raises(kind, match=words):
        call()
    assert plt.get_fignums() == []


def test_output_spikes_are_drawn_as_decision_spikes_writes_them():
    d, _ = decisions(5)
    z = decision_spikes(d, T, 3)
    for i in range(5):
        spike = [(float(d.step[i]), float(d.label[i]))] if d.fired[i] else []
        assert drawn(plots.raster(z, sample=i)) == spike


def test_nothing_but_drawing_imports_matplotlib_and_says_what_is_missing():
    code = """
import sys, rc_snn, rc_snn.plots
print("matplotlib" in sys.modules)
sys.modules["matplotlib"] = None
try:
    rc_snn.plots.frontier(([0.0], [0.5]))
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, said = done.stdout.splitlines()
    assert first == "False"
    assert said.endswith("pip install matplotlib.")


def test_the_frontier_of_a_sweep_is_the_best_of_exits():
    d = torch.rand(T, 50, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    curve = exits.sweep(d, d > 0.4, exits.every_threshold(d))
    (line,) = plots.frontier(curve).lines
    budgets = curve.time.sort().values
    best = exits.accuracy_within(curve, curve, budgets)
    at = np.searchsorted(line.get_xdata(), budgets.numpy() + 1e-9, side="right") - 1
    np.testing.assert_allclose(line.get_ydata()[at], 100 * best)
