"""How our objects look in a notebook: small tables and rasters, of HTML that runs nothing.

Every word is escaped, and what is long is cut, with a line that says how much more there is.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from html import escape
from typing import Any

import numpy as np

ROWS = 10
"""Samples, names or measures that are shown."""
SPIKES = 2_000
"""Spikes that are drawn; a page with a thousand objects stays light."""
WIDTH, HEIGHT = 480, 160
"""Of a raster, in CSS pixels."""
_LONG = 200


def decision(d: Any) -> str:
    """Return the first answers of an `rc_snn.Decision`, and what they have in common."""
    n, fired = len(d), int(d.fired.sum())
    rows = []
    for i in range(min(n, ROWS)):
        step = None if d.step is None else int(d.step[i])
        score = float(d.scores[i].max()) if d.scores.shape[1] else None
        said = "yes" if d.fired[i] else "no, forced"
        rows.append([str(i), int(d.label[i]), step, float(d.time[i]), said, score])
    head = ["sample", "label", "step", "time (frames)", "fired", "largest score"]
    return table(f"Decision: {n:,} samples, {fired:,} fired", rows, head, more=n - len(rows))


def account(a: Any) -> str:
    """Return the numbers of an `rc_snn.regimes.Account`."""
    clocks = {"step_clock", "strict_clock", "input_seen"}
    names = {
        "n": "samples",
        "accuracy": "accuracy (%)",
        "time_to_insight": "mean step",
        "macs": "dense multiply-adds",
        "macs_full": "of the whole sequence",
        "synops_ac": "synaptic operations on spikes",
        "synops_mac": "and on activations",
    }
    rows: list[Sequence[Any]] = []
    for field in fields(a):
        value = getattr(a, field.name)
        if value is None or isinstance(value, list):
            continue
        name = names.get(field.name, field.name.replace("_", " "))
        if field.name in clocks:
            name = f"{name} (% of the frame)"
            value = f"mean {_number(100 * value.mean)}, median {_number(100 * value.median)}"
            if field.name != "input_seen":
                value += f"; {getattr(a, field.name).regime}"
        rows.append([name, 100 * value if field.name == "accuracy" else value])
    return table("Account", rows)


def network(net: Any) -> str:
    """Return what an `rc_snn.Network` says of itself."""
    weights = sum(w.numel() for w in net.model.parameters())
    classes = [*net.classes[:ROWS]]
    if len(net.classes) > ROWS:
        classes.append(f"… {len(net.classes) - ROWS:,} more")
    rows: list[Sequence[Any]] = [
        ["family", net.family],
        ["model", f"{type(net.model).__name__}, {weights:,} weights"],
        ["θ", net.theta],
        ["steps per frame", net.n_steps],
        ["reads", net.reads],
        ["encoder", _pairs(net.encoder)],
        ["classes", ", ".join(classes)],
        ["measured", _pairs(net.measured)],
        ["record", net.record or None],
    ]
    return table(f"Network {net.name}", rows)


def stream(s: Any) -> str:
    """Return the sizes of a `SpikeStream`, and a raster of its first sample."""
    rows: list[Sequence[Any]] = [
        ["samples", len(s)],
        ["units", " × ".join(map(_number, s.shape))],
        ["ticks per sample", f"{s.n_steps:,} of {_number(s.dt_s)} s"],
        ["spikes", s.n_spikes],
        ["samples hold", ", ".join(s.samples) or None],
        ["metadata", _pairs(s.metadata)],
    ]
    ticks, units = s.of_sample(0)
    said = f"sample 0: {len(ticks):,} spikes"
    if len(ticks) > SPIKES:
        said += f", of which {SPIKES:,} are drawn"
    drawn = raster(ticks, units, s.n_steps, s.n_units)
    return f"{table('SpikeStream', rows)}{drawn}<div>{escape(said)}; time →, unit 0 below</div>"


def table(
    caption: str, rows: Iterable[Sequence[Any]], head: Sequence[str] = (), *, more: int = 0
) -> str:
    """Return a table; without a head the first cell of each row is its name.

    Example:
        >>> table("a < b", [["θ", 0.95]])
        '<table><caption>a &lt; b</caption><tr><th>θ</th><td>0.95</td></tr></table>'
    """
    lines = [f"<caption>{_cell(caption)}</caption>"]
    if head:
        lines.append("<tr>" + "".join(f"<th>{_cell(x)}</th>" for x in head) + "</tr>")
    for first, *rest in rows:
        cells = "".join(f"<td>{_cell(x)}</td>" for x in rest)
        lines.append(f"<tr><th>{_cell(first)}</th>{cells}</tr>")
    if more > 0:
        lines.append(f'<tr><td colspan="{len(head) or 2}">… {more:,} more</td></tr>')
    return f"<table>{''.join(lines)}</table>"


def raster(times: Any, units: Any, n_steps: int, n_units: int) -> str:
    """Return spikes as SVG in the text's colour: a short bar for each, unit 0 below."""
    if len(times) > SPIKES:  # evenly over all
        kept = np.linspace(0, len(times) - 1, SPIKES).astype(int)
        times, units = np.asarray(times)[kept], np.asarray(units)[kept]
    high = max(1.0, 0.8 * HEIGHT / n_units)
    x = (np.asarray(times) + 0.5) * (WIDTH / n_steps)
    y = HEIGHT - (np.asarray(units) + 0.5) * (HEIGHT / n_units) - high / 2
    bars = "".join(f"M{a:.1f} {b:.1f}v{high:.1f}" for a, b in zip(x, y, strict=True))
    return (
        f'<svg width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="spike raster"><path d="M0 0V{HEIGHT}H{WIDTH}{bars}" fill="none" '
        'stroke="currentColor"/></svg>'
    )


def _cell(value: Any) -> str:
    text = value if isinstance(value, str) else _number(value)
    return escape(text if len(text) <= _LONG else f"{text[:_LONG]}…")


def _number(value: Any) -> str:
    """Return a number as text: what is missing as a dash."""
    if value is None:
        return "—"
    if isinstance(value, int):
        return f"{value:,}"
    if abs(value) == math.inf:
        return "∞"
    return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"


def _pairs(said: Mapping[str, Any]) -> str | None:
    """Return the first of named values on one line."""
    shown = [f"{key}: {value}" for key, value in list(said.items())[:ROWS]]
    if len(said) > ROWS:
        shown.append(f"… {len(said) - ROWS:,} more")
    return "; ".join(shown) or None
