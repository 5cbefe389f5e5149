"""What the speed benchmark says of a program: its peak, its profile, its roofline."""

import pytest
import torch

from benchmarks import record
from benchmarks.run import Measurement
from benchmarks.speed import device, growth, threads
from benchmarks.speed import task as speed
from benchmarks.speed.anytime import equal_theta
from benchmarks.speed.growth import fit, in_words
from benchmarks.speed.machine import Machine, peak_bytes, profile, roofline
from benchmarks.speed.programs import NEVER, training_step
from benchmarks.task import command
from encoders.mnist import embedded_digits
from rc_snn.models import RCLSTM
from rc_snn.runner import decide, trace
from rc_snn.sequences import DenseSequences, Labelled, SpikeSequences
from rc_snn.training import ANSWER_AT_ONCE

MB = 2**20


def batch(n_steps: int = 4) -> Labelled:
    steps = torch.randint(n_steps, (16, 30), generator=torch.Generator().manual_seed(0))
    return Labelled(SpikeSequences(steps, n_steps), torch.zeros(16, dtype=torch.long))


def test_the_peak_is_what_is_held_at_once_not_all_that_is_made():
    def one_after_the_other() -> None:
        for _ in range(3):
            torch.ones(MB, dtype=torch.uint8)

    def together() -> None:
        torch.stack([torch.ones(MB, dtype=torch.uint8) for _ in range(3)])

    nothing = torch.nn.Module()
    assert peak_bytes(one_after_the_other, nothing) == pytest.approx(MB, rel=0.01)
    assert peak_bytes(together, nothing) == pytest.approx(6 * MB, rel=0.01)


def test_the_peak_holds_the_memory_that_a_cell_keeps_for_its_next_run():
    model = RCLSTM(30, 200, 3)
    step = training_step(model, batch(), NEVER)
    first = peak_bytes(step, model)
    kept = 4 * 4 * 16 * 800  # four steps' gates, in float32
    assert first > 2 * kept, "and as much again for their gradients"
    for _ in range(3):
        step()
    assert peak_bytes(step, model) == pytest.approx(first, rel=0.01)
    assert peak_bytes(step, torch.nn.Module()) < first - kept, "it would be missed otherwise"


def test_a_profile_begins_with_what_takes_most():
    a, b = torch.ones(400, 400), torch.ones(4)

    def step() -> None:
        torch.mm(a, a)
        b.add_(1)

    assert profile(step, 5).startswith("torch.mm ")


def test_the_roofline_counts_products_at_both_rates_and_what_adam_moves():
    model = RCLSTM(30, 200, 3)
    training_step(model, batch(), ANSWER_AT_ONCE)()
    machine = Machine(float32=1.0, bf16=4.0, memory=2.0)
    text = roofline(model, 16, 0, 0.1, machine)
    # The input: forward and weights. The read-out: forward twice, features, weights.
    gflop = 2 * 16 * (2 * 30 * 800 + 4 * 200 * 3) / 1e9
    assert f"{gflop:.2f} GFLOP = {1e3 * gflop:.1f} ms at the float32" in text
    assert f"{1e3 * gflop / 4:.1f} ms at the bf16 rate" in text
    moved = 28 * (30 * 800 + 2 * 800 + 200 * 3 + 3) / 1e9  # weight_hh has no gradient
    assert f"Adam moves {1e3 * moved:.0f} MB = {1e3 * moved / 2:.1f} ms" in text


def test_a_line_is_fitted_to_points_on_it():
    assert in_words(fit([1.0, 2.0, 10.0], [0.003, 0.005, 0.021])) == (
        "time = 1.00 ms + 2.000 ms * steps computed, R² = 1.0000"
    )


@pytest.mark.slow
def test_a_record_of_speed_holds_what_its_text_shows(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(speed, "load_mnist", lambda data: embedded_digits())
    options = speed.SpeedOptions(
        train=True, what=("ratios",), batch_size=4, repeats=2, results=tmp_path, threads=None
    )
    assert command(speed.TASK, options) == 0
    [done] = speed.TASK.find(options)
    assert (done.benchmark, done.config["what"], done.metrics["repeats"]) == ("speed", "ratios", 2)
    by_name = {r["name"]: r for r in done.metrics["ratios"]}
    memory = by_name["LSTM kept for backward, all at step 0: 20 T / T"]
    assert memory["ratio"] == 1.0, "what a sample that has answered would compute is never kept"
    shown = (tmp_path / "speed" / "speed.txt").read_text()
    for name, r in by_name.items():
        [line] = [line for line in shown.splitlines() if line.startswith(name.ljust(64))]
        missed = r["target"] is not None and r["ratio"] < r["target"]
        assert f"{r['ratio']:.2f} {r['unit']}" in line
        assert line.endswith("MISSED") == missed
    assert shown in capsys.readouterr().out


def test_growth_is_measured_up_to_the_step_at_which_all_answer(monkeypatch):
    steps = torch.randint(20, (4, 30), generator=torch.Generator().manual_seed(0))
    whole = Labelled(SpikeSequences(steps, 20), torch.zeros(4, dtype=torch.long))
    part = growth.cut(whole, 6)
    assert part.inputs.n_steps == 7
    for t in range(7):
        assert torch.equal(part.inputs.at(t), whole.inputs.at(t))
    run = decide(RCLSTM(30, 5, 3), part.inputs, NEVER)
    assert run.step.tolist() == [6] * 4


@pytest.mark.slow
def test_the_threshold_of_rank_coding_has_the_mean_step_of_drawn_ones_as_nearly_as_there_is_one():
    """Against every threshold that a sample's largest probability can be."""
    g = torch.Generator().manual_seed(0)
    model = RCLSTM(5, 8, 3, dense_input=True, generator=g)
    frames = DenseSequences(4 * torch.randn(7, 30, 5, generator=g))
    p = torch.softmax(trace(model, frames), dim=-1).amax(-1).detach()
    data = Labelled(frames, torch.zeros(30, dtype=torch.long))

    def mean_step(theta: float) -> float:
        return decide(model, frames, theta).step.double().mean().item()

    for wanted in (0.5, 2.0, 5.0):
        best = min(abs(mean_step(float(x)) - wanted) for x in p.flatten())
        found = mean_step(equal_theta(model, data, wanted))
        # θ is found in log-odds: its rounding may cost one of 30 samples all six steps.
        assert abs(found - wanted) <= best + 6 / 30 + 1e-9


@pytest.mark.slow
def test_the_programs_of_a_gpu_run_anywhere_and_name_what_binds():
    """On the CPU, small: what a GPU measures is the same code."""
    sizes = device.Sizes((8,), (20,), 2, ((16, 8),), 8, 2)
    ratios, remarks = device.measure(embedded_digits().test, 2, torch.device("cpu"), sizes)
    assert len(ratios) == 9
    bound = [line for line in remarks if line.endswith("bind")]
    assert len(bound) == 5
    assert all(any(line.startswith(r.name) for r in ratios) for line in bound)


def test_without_a_gpu_the_command_says_what_is_missing(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    options = speed.SpeedOptions(train=True, device="cuda", results=tmp_path, runs=tmp_path)
    assert command(speed.TASK, options) == 1
    assert "needs a GPU that torch sees" in capsys.readouterr().err


@pytest.mark.slow
def test_the_sweep_measures_each_number_of_threads_and_sets_it_back(monkeypatch):
    monkeypatch.setattr(threads, "counts", lambda: [1, 2])
    before = torch.get_num_threads()
    rows = threads.measure(embedded_digits().test, 3, 8, 2)["rows"]
    assert [row["threads"] for row in rows] == [1, 1, 2, 2]
    assert torch.get_num_threads() == before
    said = "\n".join(threads.lines({"rows": rows}))
    assert said.count("with 8 hidden units") == said.count("own time: ") == 4


def test_the_text_keeps_what_another_call_has_measured(tmp_path, monkeypatch):
    """A sweep, and a GPU that is not there now; not what has other steps."""
    monkeypatch.setattr(threads, "counts", lambda: [1, 3])
    asked = {"results": tmp_path, "runs": tmp_path}
    alone, sweep, other = (
        speed.SpeedOptions(**asked, **more)
        for more in ({"what": ("growth", "ratios")}, {"sweep": True}, {"n_steps": 20})
    )
    on_gpu = Measurement("speed", {"what": "device", "device": "a GPU"})
    for run in (on_gpu, *speed.TASK.runs(other), *speed.TASK.runs(sweep), *speed.TASK.runs(alone)):
        record.save(run.record(dict, "an example"), tmp_path / "speed")
    for options in (alone, sweep):
        found = [done.config["what"] for done in speed.TASK.find(options)]
        assert found == ["ratios", "growth", "threads", "device"]
    with pytest.raises(ValueError, match=r"no record of what was asked for.*--train"):
        speed.TASK.find(speed.SpeedOptions(results=tmp_path / "none", runs=tmp_path))
