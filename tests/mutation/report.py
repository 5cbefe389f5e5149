"""What a sample of mutants says, for docs/MUTATION.md."""

from collections import Counter

from tests.mutation.faults import Mutant

EQUIVALENT: dict[str, str] = {
    "log_p = F.log_softmax(logits, dim=1)": "logits are [batch, classes]: the last dimension is 1",
    'for kind, each in zip(("ac", "mac"), operations, strict=False)': "there are always two",
    "target = check_labels(target, logits.shape[1])": "logits are [pairs, classes]",
    "if (decision.step is not None or n_steps is not None):": "both are None, or neither",
    "wrong = ~(((decision.time.double() - out).abs() < rounding))": "a difference that is equal to "
    "the bound to its last digit; the bound is a round number",
    "rounding = 1e-6 + 5.0 * torch.finfo(decision.time.dtype).eps": "room for rounding",
    "spent = ((clock + clock[0])) / (clock[-1] - clock[0]).clamp_min(ROUNDING)": "every "
    "sample pays the same more, whatever the thresholds",
    "total = 1.0": "every width of a block has the same more",
    "step = first_reached(score, torch.full_like(score[:, 1], threshold))": "only the "
    "shape is read",
    "and (_mean(score, cost, warm) <= _mean(score, cost, limits) - ROUNDING)": "a difference that "
    "is equal to the bound to its last digit; the bound is a round number",
    "and _mean(score, cost, warm) < (_mean(score, cost, limits) + ROUNDING)": "of two beginnings "
    "that cost the same either may be taken",
    "_stepper(model, inputs, fused=True) # which checks what goes in": "the steps themselves are "
    "not taken",
    "if (theta is not None) and chunks is None:": "lengths of chunks decide about time only",
    "runs = zip(in_turn(inputs, parts), own, strict=False)": "both have one for each batch",
    "rows, features = zip(*seen, strict=False)": "what is seen comes in pairs",
    "chunks = 1 if blocks > 2 else 8": "how work is divided changes no sum",
    "chunks = 1 if blocks > 1 else 9": "how work is divided changes no sum",
    "n_inputs = times.shape[1] + (0 if pulses is None else len(pulses))": "times are a matrix",
    "last.masked_fill(silent, -2.0),": "any negative place says that there is none",
    "return torch.where(silent, 1.0, -times).softmax(dim=1)": "the softmax of equal numbers",
    "return max(block for block, found in zip(blocks, areas, strict=False) if found >= best)": (
        "each width has an area"
    ),
    "target = check_labels(target, logits.shape[1], len(logits))": "logits are [batch, classes]",
    "loss = loss + beta * (log_p.exp() * log_p).sum(dim=1).mean()": "logits are [batch, classes]",
    "within = torch.searchsorted(validation.time[order].double(), limits, right=False)": "budgets "
    "have room for rounding",
    "if (chance < delta / len(thresholds)):": "a chance that is equal to the "
    "bound to its last digit",
    "if (total.min() <= total[now] - ROUNDING):": "a difference that is equal to the bound to its "
    "last digit; the bound is a round number",
    "pairs = zip(self.limits, self.offsets, strict=False)": "each shape has its offsets",
    "values = torch.cat([block.events.values, block.events.values.new_full((2,), torch.inf)])": (
        "a second threshold that nothing reaches"
    ),
    "best = ((total < total.min() + ROUNDING)).nonzero().squeeze(1)": "a difference that is equal "
    "to the bound to its last digit",
    "if theta is None and (chunks is not None):": "lengths of chunks decide about time only",
    "if (len(inputs) < batch_size):": "one batch by either way",
    "for first, length in zip(accumulate(lengths, initial=0), lengths, strict=True):": "the last "
    "chunk leaves the loop",
    "[_run(model, x, limit, False, chunks=chunks).decision for x, limit in runs]": "both paths "
    "decide alike; which one is taken is a matter of time",
    "fused: bool = False,": "both paths decide alike; which one is taken is a matter of time",
    "if (theta is None or chunks is None):": "lengths of chunks decide about time only",
    "chunks = chooser(model, inputs.n_steps, training=True)": "lengths of chunks decide about "
    "time only",
    "chunks = 1 if (blocks >= 1) else 8": "how work is divided changes no sum",
    "chunks = 2 if blocks > 1 else 8": "how work is divided changes no sum",
    "low, high = (int(x) for x in index.aminmax()) if index.numel() else (1, -1)": "either is "
    "refused: the lowest is above the highest",
    'fits(weight, (weight.shape[0], weight.shape[1]), dtype, "weight")': "weights are a matrix",
    "dtype, after = _kernel_dtype(weight), (*spikes.spiking.shape, weight.shape[1])": "weights are "
    "a matrix",
    "fit = weight.dim() == 2 and 0 not in weight.shape and weight.shape[0] == index.shape[1]": (
        "an index is a matrix"
    ),
    "time.masked_fill(silent, 1.0),": "the time of what is silent is not read",
    "Fast = bool | Literal['XXtritonXX'] | None": "for type checkers only",
    "return max(block for block, found in zip(blocks, areas, strict=True) if (found > best))": (
        "an area that is equal to the bound to its last digit"
    ),
    "if (block <= len(score)):": "one block of all steps has its best threshold already",
    "values, order = score.cummax(dim=0).values.flatten().sort(stable=False)": "no threshold stops "
    "between equal values",
    "if math.isnan((scores.detach().mean)()) and scores.isnan().any(): # the first asks in one "
    "pass": "the mean is NaN where the sum is",
    "if (math.isnan(scores.detach().sum()) or scores.isnan().any()): # the first asks in one "
    "pass": "the first question only saves the second",
    "return -(log_p.exp() * log_p).sum(dim=1)": "logits are [batch, classes]",
    "input_times = check_times(input_times, latest=2.0 if n_steps else math.inf)": "where times "
    "become steps, those after the frame are refused, too",
    "if (decision.step is None and n_steps is None):": "both are None, or neither",
    "stacklevel=4,": "the shape checks of the tests add frames of their own",
}
"""Mutants that no test can notice, by their new line, and why."""


def text(
    command: str,
    among: Counter[str],
    sample: list[Mutant],
    survivors: list[Mutant],
    sources: dict[str, str],
) -> str:
    """Return the page."""
    tried, left = Counter(x.path for x in sample), Counter(x.path for x in survivors)
    noticed = len(sample) - len(survivors)
    same = sum(x.shown(sources[x.path])[1] in EQUIVALENT for x in survivors)
    lines = [
        "# Mutants",
        "",
        "Small faults written into the core, one at a time, and whether a test notices: written by",
        f"`python -m tests.mutation {command}`.",
        "",
        f"Noticed: {noticed} of {len(sample)} ({noticed / len(sample):.1%}). Mutants in all: "
        f"{among.total()}.",
        f"Of the {len(survivors)} others {same} change nothing that a caller could see, for the "
        "reason that stands there.",
        "",
        "| file | mutants | tried | noticed |",
        "|---|---|---|---|",
        *(f"| {x} | {among[x]} | {tried[x]} | {tried[x] - left[x]} |" for x in among if tried[x]),
        "",
        "## Not noticed",
        "",
    ]
    for mutant in sorted(survivors, key=lambda x: (x.path, x.line)):
        old, new = mutant.shown(sources[mutant.path])
        why = EQUIVALENT.get(new, "no test when this was written")
        lines += [f"`{mutant.path}`: {why}", "```diff", f"- {old}", f"+ {new}", "```", ""]
    return "\n".join(lines)
