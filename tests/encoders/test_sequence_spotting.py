"""Sequence spotting: labels, steps and posteriors against the enumeration of all sequences."""

from itertools import groupby, pairwise

import pytest
import torch
from torch import Tensor

from encoders.sequence_spotting import (
    draw,
    follow,
    optimal_rule,
    posterior,
    posterior_of,
    posterior_rule,
    run_lengths,
    spotting,
)
from rc_snn.spikes import first_spike

TASKS = [(2, 2), (5, 2), (6, 6), (9, 3), (10, 5), (12, 4), (13, 5)]


def every(n_steps: int) -> Tensor:
    return torch.arange(2**n_steps)


def bits(word: int, n_steps: int) -> list[int]:
    return [word >> t & 1 for t in range(n_steps)]


def has_run(values: list[int], run: int) -> bool:
    """The definition."""
    return any(len(list(same)) >= run for _, same in groupby(values))


def share_of_continuations(n_steps: int, run: int) -> Tensor:
    """P(positive | first t+1 values) of every sequence, by counting: `[time, 2^n_steps]`.

    The first t+1 values are the low t+1 bits: sequences that share them lie 2^(t+1) apart.
    """
    label = torch.tensor([has_run(bits(w, n_steps), run) for w in range(2**n_steps)]).double()
    prefixes = [label.view(-1, 2 ** (t + 1)).mean(dim=0) for t in range(n_steps)]
    return torch.stack([p.repeat(2**n_steps // len(p)) for p in prefixes])


@pytest.mark.parametrize(("n_steps", "run"), TASKS)
def test_labels_and_certain_steps_are_those_of_the_enumeration(n_steps, run):
    seen = spotting(every(n_steps), n_steps=n_steps, run=run)
    share = share_of_continuations(n_steps, run)
    assert torch.equal(seen.data.labels.double(), share[-1])
    sure = (share == 0) | (share == 1)
    assert torch.equal(seen.certain, sure.int().argmax(dim=0))


@pytest.mark.parametrize(("n_steps", "run"), TASKS)
def test_the_posterior_is_the_share_of_positive_continuations(n_steps, run):
    seen = spotting(every(n_steps), n_steps=n_steps, run=run)
    p = posterior_of(seen.data.inputs.frames, run)
    share = share_of_continuations(n_steps, run)
    assert torch.equal(p, torch.stack([1 - share, share], dim=2))


def test_a_positive_is_earliest_where_its_first_run_ends_and_a_negative_never_is():
    n_steps, run = 11, 3
    seen = spotting(every(n_steps), n_steps=n_steps, run=run)
    for word, earliest in enumerate(seen.earliest.tolist()):
        values = bits(word, n_steps)
        ends = [t for t in range(run - 1, n_steps) if len({*values[t - run + 1 : t + 1]}) == 1]
        assert earliest == (ends[0] if ends else n_steps)


def test_frames_are_the_bits_one_step_after_the_other():
    seen = spotting(torch.tensor([0b00110, 0b10001], dtype=torch.int32), n_steps=5, run=4)
    frames = seen.data.inputs.frames
    assert (frames.dtype, frames.shape) == (torch.float32, (5, 2, 1))
    assert frames[:, :, 0].T.tolist() == [[0, 1, 1, 0, 0], [1, 0, 0, 0, 1]]
    assert seen.data.labels.dtype == seen.certain.dtype == torch.int64


@pytest.mark.parametrize("n_steps", [25, 30, 31, 53, 62])
def test_long_sequences_are_labelled_as_the_definition_says(n_steps, generator):
    seen = draw(300, generator, n_steps=n_steps, run=5)
    rows = seen.data.inputs.frames[:, :, 0].T.int().tolist()
    steps = zip(rows, seen.data.labels.tolist(), seen.certain.tolist(), strict=True)
    for values, label, certain in steps:
        assert label == has_run(values, 5)
        for t in (certain - 1, certain):  # the worst continuations repeat, or alternate
            repeats = values[: t + 1] + [values[t]] * (n_steps - t - 1)
            alternates = values[: t + 1] + [(values[t] + k) % 2 for k in range(1, n_steps - t)]
            outcomes = {has_run(repeats, 5), has_run(alternates, 5)}
            assert len(outcomes) == (2 if t < certain else 1)


def test_inverting_all_values_changes_no_label_and_no_step():
    words = every(12)
    one, other = spotting(words, n_steps=12), spotting(words ^ 0xFFF, n_steps=12)
    assert torch.equal(one.data.labels, other.data.labels)
    assert torch.equal(one.certain, other.certain)


def test_the_share_of_positives_is_that_of_the_tetranacci_numbers():
    """Changes between neighbours are 24 fair bits; negative is "no four non-changes in a row"."""
    strings = [1, 2, 4, 8]
    while len(strings) <= 24:
        strings.append(sum(strings[-4:]))
    assert posterior()[0, 0].item() == 1 - strings[24] / 2**24


def test_draws_are_fair_independent_and_repeatable_and_leave_the_global_generator(generator):
    before = torch.random.get_rng_state()
    drawn = draw(40_000, generator)
    assert torch.equal(before, torch.random.get_rng_state())
    again = draw(40_000, torch.Generator().manual_seed(0))
    assert torch.equal(drawn.data.inputs.frames, again.data.inputs.frames)
    more = draw(40_000, generator)  # goes on in the stream
    assert not torch.equal(drawn.data.inputs.frames, more.data.inputs.frames)
    values = 2 * drawn.data.inputs.frames[:, :, 0] - 1
    sums = torch.cat([values.sum(dim=1), (values @ values.T).triu(1).flatten()])
    assert sums.abs().max() < 5 * 40_000**0.5  # five standard deviations of a fair coin
    share = drawn.data.labels.double().mean().item()
    assert abs(share - posterior()[0, 0].item()) < 5 * 0.5 / 40_000**0.5


def test_at_most_15_of_16_are_sure_before_certainty_so_a_posterior_of_95_percent_is_certainty():
    drawn = draw(5_000, torch.Generator().manual_seed(1))
    f = posterior()
    largest = torch.maximum(f, 1 - f)
    assert largest[largest < 1].max() == 15 / 16
    spike = first_spike(posterior_of(drawn.data.inputs.frames), theta=0.95)
    assert torch.equal(spike.step, drawn.certain)
    assert spike.fired.all()
    negative = drawn.data.labels == 0
    assert set(drawn.certain[negative].tolist()) == {21, 22, 23, 24}


def test_run_lengths_count_up_start_again_and_stay_at_a_complete_run():
    values = torch.tensor([[1, 1, 0, 1, 1, 1, 0, 0], [0, 1, 0, 0, 1, 0, 1, 1]]).T
    assert run_lengths(values.float().unsqueeze(2), run=3).T.tolist() == [
        [1, 2, 1, 1, 2, 3, 3, 3],
        [1, 1, 1, 2, 1, 1, 1, 2],
    ]


@pytest.mark.parametrize("level", [0.5, 0.7, 0.9, 0.95, 1.0])
@pytest.mark.parametrize(("n_steps", "run"), [(9, 3), (12, 4), (13, 5)])
def test_a_rule_attains_what_it_attains_on_the_enumeration(level, n_steps, run):
    share = share_of_continuations(n_steps, run)
    sure = torch.maximum(share, 1 - share) >= level
    step = torch.where(sure.any(dim=0), sure.int().argmax(dim=0), n_steps - 1)
    label = share[-1] == 1
    at = share.gather(0, step.unsqueeze(0))[0]
    chance = torch.where(at == 0.5, 0.5, ((at > 0.5) == label).double())  # a tie: either answer
    limit = posterior_rule(level, n_steps=n_steps, run=run)
    assert limit.accuracy == pytest.approx(chance.mean().item(), abs=1e-14)
    assert limit.mean_step == pytest.approx(step.double().mean().item(), abs=1e-12)
    assert limit.fired == pytest.approx(sure.any(dim=0).double().mean().item(), abs=1e-14)
    for of_class, found in ((label, limit.positives_at_step), (~label, limit.negatives_at_step)):
        counted = torch.bincount(step[of_class], minlength=n_steps) / 2**n_steps
        torch.testing.assert_close(torch.tensor(found), counted, atol=1e-7, rtol=0)


@pytest.mark.parametrize("cost", [0.0, 0.02, 0.06, 0.13, 0.3])
@pytest.mark.parametrize("run", [2, 3, 4])
def test_no_rule_of_stopping_beats_the_optimal_one(run, cost):
    """Every rule that reads prefixes, not only those that read the current run's length."""
    n_steps = 4
    share = share_of_continuations(n_steps, run)
    prefixes = [(t, low) for t in range(n_steps - 1) for low in range(2 ** (t + 1))]
    rules = (torch.arange(2 ** len(prefixes)).unsqueeze(1) >> torch.arange(len(prefixes))) & 1
    gains = torch.zeros(len(rules), dtype=torch.float64)
    for word in range(2**n_steps):
        gain = torch.full_like(gains, share[-1, word].clamp(0, 1).item())
        gain = torch.maximum(gain, 1 - gain) - cost * (n_steps - 1)
        for t in range(n_steps - 2, -1, -1):  # the first stop counts: it overwrites later ones
            p = share[t, word].item()
            stops = rules[:, prefixes.index((t, word % 2 ** (t + 1)))] == 1
            gain = torch.where(stops, max(p, 1 - p) - cost * t, gain)
        gains += gain / 2**n_steps
    best = optimal_rule(cost, n_steps=n_steps, run=run)
    assert best.accuracy - cost * best.mean_step == pytest.approx(gains.max().item(), abs=1e-12)


def test_reading_for_nothing_is_certain_and_as_early_as_certainty_allows():
    free, certain = optimal_rule(0.0), posterior_rule(1.0)
    assert free == certain
    assert (certain.accuracy, certain.fired) == (1.0, 1.0)


def test_dearer_steps_never_lengthen_a_decision_and_never_improve_it():
    limits = [optimal_rule(cost) for cost in (0.0, 0.01, 0.02, 0.03, 0.05, 0.1, 0.5)]
    for cheap, dear in pairwise(limits):
        assert cheap.mean_step >= dear.mean_step
        assert cheap.accuracy >= dear.accuracy
    assert limits[-1].mean_step == 0.0
    assert limits[-1].accuracy == posterior()[0, 0].item()


def test_a_rule_that_never_stops_is_asked_at_the_last_step_and_knows():
    limit = follow(torch.zeros(25, 5, dtype=torch.bool))
    assert (limit.accuracy, limit.mean_step, limit.fired) == (1.0, 24.0, 0.0)
    assert sum(limit.positives_at_step) == limit.positives_at_step[-1]
    assert limit.positives_at_step[-1] == posterior()[0, 0].item()


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: draw(0, torch.Generator()), "at least 1 sequence, got 0"),
        (lambda: draw(1, torch.Generator(), run=1), "2 <= run <= n_steps <= 62, got run=1"),
        (lambda: draw(1, torch.Generator(), n_steps=63), "n_steps=63"),
        (lambda: draw(1, torch.Generator(), n_steps=4), "run=5 and n_steps=4"),
        (lambda: posterior(3, 4), "run=4 and n_steps=3"),
        (lambda: run_lengths(torch.zeros(4, 1, 1)), "n_steps=4"),
        (lambda: spotting(torch.tensor([2**25])), r"integers in 0\.\.33554431, got 33554432"),
        (lambda: spotting(torch.tensor([3, -1])), r"got -1\.\.3"),
        (lambda: posterior_rule(0.49), r"in \[0.5, 1\], got 0.49"),
        (lambda: posterior_rule(1.01), "got 1.01"),
        (lambda: optimal_rule(-0.1), "cost must be >= 0 per step, got -0.1"),
        (lambda: optimal_rule(float("nan")), "got nan"),
    ],
)
def test_what_cannot_be_drawn_or_followed_is_refused_with_the_reason(call, says):
    with pytest.raises(ValueError, match=says):
        call()
