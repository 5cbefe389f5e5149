// The first tab: tables, the frontier, figures, speed, records.

const view = { clock: "strict_clock", cost: "synops", axis: "log", measured: false, swept: false, kind: null };
const CLOCK_HEADS = { step_clock: "step clock", strict_clock: "strict clock", input_seen: "input seen" };
const COST_HEADS = { synops: "MSynOps", macs: "dense MMACs (of full)" };

function modelCell(row) {
  const part = document.createDocumentFragment(), { model, architecture, regime } = row.cells;
  part.append(model);
  put(part, "small", {}, [architecture, regime].filter((x) => x && x !== "—").join(", "));
  return part;
}

// What follows the number stands small below it.
function twoLines(text, at) {
  const place = text.search(at);
  if (place < 1) return text;
  const part = document.createDocumentFragment();
  part.append(text.slice(0, place));
  put(part, "small", {}, text.slice(place).trim().replace(/^, /, ""));
  return part;
}

function gap(row) {
  const claim = Number(row.cells["published %"]), own = row.values.accuracy;
  return row.cells["ours %"] === "—" || Number.isNaN(claim) || own === undefined ? null : own - claim;
}

function gapCell(row) {
  const value = gap(row);
  if (value === null) return "—";
  if (Math.abs(value) < 0.005) return "= 0.00";
  const text = `${value >= 0 ? "▲ +" : "▼ −"}${Math.abs(value).toFixed(2)}`;
  return put(null, "span", { class: value >= 0 ? "up" : "down" }, text);
}

function drawTable1() {
  const clock = CLOCK_HEADS[view.clock], cost = COST_HEADS[view.cost];
  const cell = (name, at) => (row) => (at ? twoLines(row.cells[name] ?? "—", at) : row.cells[name] ?? "—");
  const columns = [
    { head: "model", text: modelCell, value: (r) => `${r.cells.model} ${r.cells.architecture}` },
    { head: "published %", number: true, text: cell("published %"), value: (r) => parseFloat(r.cells["published %"].replace(/^< /, "")), title: "Jeffares et al., ICLR 2022, Table 1" },
    { head: "ours %", number: true, text: cell("ours %", / \(/), value: (r) => r.cells["ours %"] && r.cells["ours %"] !== "—" ? r.values.accuracy : null },
    { head: "ours − claim", number: true, text: gapCell, value: gap, title: "in percentage points" },
    { head: "recipe", text: cell("recipe", /, /), value: cell("recipe") },
    { head: "input", text: cell("input", /, /), value: cell("input") },
    { head: clock, number: true, text: cell(clock, / [a-z]/), value: (r) => r.values[view.clock], title: DATA.clocks[view.clock] },
    { head: cost, number: true, text: cell(cost, / [+(]/), value: (r) => r.values[view.cost], title: view.cost === "synops" ? "million operations until the decision; sorted by their sum" : "million multiply-adds if nothing were a spike" },
    { head: "mean step", number: true, text: cell("mean step"), value: (r) => parseFloat(r.cells["mean step"]) },
    { head: "fired %", number: true, text: cell("fired %"), value: (r) => r.values.fired },
    { head: "paper's protocol %", number: true, text: cell("paper's protocol %", / \(/), value: (r) => parseFloat(r.cells["paper's protocol %"]) },
    { head: "trained / tested on", text: cell("trained / tested on", / \/ /), value: cell("trained / tested on") },
  ];
  // Published numbers are of no record: their cells say whose they are.
  const rows = DATA.table1.filter((row) => !view.measured || row.records.length);
  sortable(byId("table1"), columns, rows, {
    records: (row) => row.records,
    rowClass: (row) => (row.yours ? "yours" : row.records.length ? null : "claim"),
  });
  for (const line of byId("table1").tBodies[0].rows) {
    delete line.cells[1].dataset.records;
    if (line.cells[1].textContent !== "—") line.cells[1].dataset.note = "Published: Jeffares et al., ICLR 2022, Table 1. Not measured here.";
  }
}

// Time axes: logarithmic above a hundredth of a frame, linear below, or linear.
function timeScale(kind, most) {
  if (kind === "linear") return (t) => t / most;
  const decades = (t) => (t <= 0.01 ? t / 0.01 : 1 + Math.log10(t / 0.01));
  return (t) => decades(t) / decades(most);
}

function frontierOf(points) {
  const found = [];
  for (const p of [...points].sort((a, b) => a.time - b.time || b.accuracy - a.accuracy)) {
    if (!found.length || p.accuracy > found.at(-1).accuracy) found.push(p);
  }
  return found;
}

function kinds() {
  return distinct(DATA.table1.filter((r) => r.records.length).map((r) => r.legend)).sort();
}

function drawLegend() {
  const box = byId("legend");
  box.replaceChildren();
  kinds().forEach((kind, i) => {
    const button = put(box, "button", { type: "button", "aria-pressed": view.kind === kind });
    const drawing = svg(button, "svg", { viewBox: "-8 -8 16 16", "aria-hidden": "true" });
    marker(drawing, SHAPES[i % SHAPES.length], 0, 0, COLOURS[i % COLOURS.length]);
    button.append(kind === "yours" ? "yours (filled)" : kind);
    button.addEventListener("click", () => {
      view.kind = view.kind === kind ? null : kind;
      drawLegend();
      drawFrontier();
      box.children[i].focus();
    });
  });
}

function drawFrontier() {
  const names = kinds(), box = byId("frontier");
  const all = DATA.table1
    .map((row) => ({ row, time: row.values[view.clock], accuracy: row.values.accuracy }))
    .filter((p) => p.time !== null && p.time !== undefined);
  const points = all.filter((p) => view.kind === null || p.row.legend === view.kind);
  const swept = view.swept && view.clock === "strict_clock" ? DATA.curves : [];
  if (!points.length) { box.textContent = "No record has a mean time on this clock."; return; }
  const lowest = Math.floor(Math.min(...all.map((p) => p.accuracy), ...swept.map(() => 95)));
  const most = view.clock === "input_seen" ? 1 : Math.max(...all.map((p) => p.time), 1) * 1.08;
  const time = timeScale(view.axis, most);
  const marks = view.axis === "log" ? [0, 0.01, 0.1, 0.25, 1, 10].filter((t) => t <= most) : Array.from({ length: 6 }, (_, i) => (most * i) / 5);
  const every = Math.max(0.5, Math.ceil((100 - lowest) / 8));
  const accuracies = [];
  for (let a = lowest; a <= 100; a += every) accuracies.push([a, String(a)]);
  const { root, sx, sy, area } = axes(box, {
    height: 460, x: time, y: (a) => (a - lowest) / (100 - lowest), label: "Test accuracy against mean decision time",
    xTicks: marks.map((t) => [t, view.axis === "log" ? String(t) : t.toFixed(2)]), yTicks: accuracies,
    xLabel: view.clock === "input_seen" ? "mean share of the input spikes seen" : `mean decision time (frames, ${CLOCK_HEADS[view.clock]})`, yLabel: "test accuracy (%)",
  });
  if (view.clock !== "input_seen") for (const [t, text] of [[0.05, "fast"], [0.25, "slow"]]) {
    svg(root, "line", { x1: sx(t), x2: sx(t), y1: area.top, y2: area.bottom, stroke: "var(--soft)", "stroke-dasharray": "2 4" });
    svg(root, "text", { x: sx(t) + (text === "fast" ? -4 : 4), y: area.top + 11, "text-anchor": text === "fast" ? "end" : "start", class: "soft" }, text);
  }
  swept.forEach((curve, i) => {
    const inside = curve.points.filter(([t, a]) => t <= most && a >= lowest);
    const dashes = ["", "8 3", "2 3", "8 3 2 3", "12 4", "4 4"][i % 6], colour = COLOURS[(i + 3) % COLOURS.length];
    if (!inside.length) return;
    svg(root, "polyline", { points: inside.map(([t, a]) => `${sx(t)},${sy(a)}`).join(" "), fill: "none", stroke: colour, "stroke-width": 1.8, "stroke-dasharray": dashes });
    for (const [t, a] of inside) ofRecords(svg(root, "circle", { cx: sx(t), cy: sy(a), r: 3, fill: colour }), curve.records, `${curve.label}: ${a.toFixed(2)} % at ${t.toFixed(3)} frames`);
    const y = area.bottom - 12 - 15 * (swept.length - 1 - i);
    svg(root, "line", { x1: area.right - 24, x2: area.right - 2, y1: y - 4, y2: y - 4, stroke: colour, "stroke-width": 2, "stroke-dasharray": dashes });
    svg(root, "text", { x: area.right - 30, y, "text-anchor": "end", "font-size": 11 }, curve.label);
  });
  const best = frontierOf(points);
  const path = best.map((p, i) => `${i ? `H${sx(p.time)}V` : `M${sx(p.time)} `}${sy(p.accuracy)}`).join("") + `H${area.right}`;
  svg(root, "path", { d: path, fill: "none", stroke: "var(--soft)", "stroke-width": 1.5, id: "staircase" });
  for (const { row, time: t, accuracy } of points) {
    const i = names.indexOf(row.legend), { model, architecture } = row.cells;
    const text = `${model} ${architecture}, ${row.cells.recipe ?? ""}, ${row.cells.input ?? ""}: ${accuracy.toFixed(2)} % at ${t.toFixed(3)}${view.clock === "input_seen" ? " of the spikes" : " frames"}`;
    const g = marker(root, SHAPES[i % SHAPES.length], sx(t), sy(accuracy), COLOURS[i % COLOURS.length], row.yours);
    for (const [key, value] of Object.entries({ tabindex: 0, role: "img", "aria-label": text, class: "point" })) g.setAttribute(key, value);
    ofRecords(g, row.records, text);
    if (row.yours) svg(root, "text", { x: sx(t) + 10, y: sy(accuracy) + 4, "font-weight": 700 }, model);
  }
}

function drawFigures() {
  for (const figure of DATA.figures) {
    const box = put(byId("figures"), "figure");
    put(box, "figcaption", {}, figure.title);
    if (figure.missing) { put(box, "p", { class: "missing" }, `Not shown: ${figure.missing}`); continue; }
    ofRecords(put(box, "img", { src: figure.image, alt: `${figure.title}; the numbers are below`, tabindex: 0 }), figure.records);
    const more = put(box, "details");
    put(more, "summary", {}, "What the records say");
    put(more, "pre", {}, figure.text);
  }
}

function drawPeers() {
  if (DATA.peers.missing) { put(byId("peers").parentElement, "p", { class: "missing" }, `Not shown: ${DATA.peers.missing}`); return; }
  const columns = DATA.peers.columns.map((head, i) => i
    ? { head, number: true, text: (r) => r.cells[i - 1].text, value: (r) => r.cells[i - 1].value }
    : { head, text: (r) => r.name, value: (r) => r.name });
  sortable(byId("peers"), columns, DATA.peers.rows, { records: () => DATA.peers.records, sort: { head: "area", down: true } });
}

// Bars of one unit share a scale: from 0, or logarithmic from 1 where they span more than twenty-fold.
function ratioScale(ratios) {
  const values = ratios.flatMap((r) => [r.ratio, r.target ?? r.ratio]), most = 1.05 * Math.max(...values);
  if (most / Math.min(...values) < 20) return (x) => x / most;
  return (x) => Math.log10(Math.max(x, 1)) / Math.log10(most);
}

function ratioLine(box, ratio, records, scale) {
  const line = ofRecords(put(box, "div", { class: "ratio", tabindex: 0 }), records);
  const missed = ratio.target !== null && ratio.ratio < ratio.target;
  put(line, "span", {}, ratio.name);
  const track = put(line, "span", { class: "track" }), wide = (x) => `${100 * scale(x)}%`;
  put(track, "span", { class: "fill" }).style.width = wide(ratio.ratio);
  if (ratio.target !== null) put(track, "span", { class: "target" }).style.left = wide(ratio.target);
  const value = put(line, "span", { class: "value" }, `${ratio.ratio.toLocaleString("en", { maximumFractionDigits: 2 })} ${ratio.unit === "x" ? "×" : ratio.unit}`);
  if (ratio.target !== null) put(value, "small", {}, `${missed ? "✗ missed" : "✓"} ≥ ${ratio.target.toLocaleString("en")}`);
  const times = ratio.seconds ? `${(1e3 * ratio.seconds[0]).toFixed(1)} ms against ${(1e3 * ratio.seconds[1]).toFixed(2)} ms` : "";
  const spread = ratio.spread ? `quartiles ${ratio.spread[0]} to ${ratio.spread[1]}` : "";
  line.dataset.note = [ratio.name, spread, times].filter(Boolean).join("; ");
}

function drawSpeed() {
  const box = byId("speed");
  for (const record of DATA.speed) {
    put(box, "h3", {}, `${record.gpu ? "GPU" : "CPU"}, ${record.machine}: ${record.what}`);
    for (const ratio of record.ratios) {
      ratioLine(box, ratio, record.records, ratioScale(record.ratios.filter((r) => r.unit === ratio.unit)));
    }
    const more = put(box, "details");
    put(more, "summary", {}, "The record in full");
    put(more, "pre", {}, record.text);
  }
  if (!DATA.speed.some((r) => r.gpu)) put(box, "p", { class: "missing" }, "No record of a GPU is in results/speed. On a machine that has one: python -m benchmarks.speed --train --device cuda");
  if (DATA.training.length) {
    put(box, "h3", {}, "Minutes of training until 98 % of the test set are right, in the fast regime");
    const columns = [
      { head: "recipe", text: (r) => r.recipe, value: (r) => r.recipe },
      { head: "minutes", number: true, text: (r) => `${r.reached ? "" : "not within "}${r.minutes.toFixed(1)}`, value: (r) => (r.reached ? r.minutes : Infinity) },
      { head: "epochs", number: true, text: (r) => String(r.epochs), value: (r) => r.epochs },
      { head: "best test %", number: true, text: (r) => (100 * r.best_accuracy).toFixed(2), value: (r) => r.best_accuracy },
    ];
    sortable(put(put(box, "div", { class: "scroll" }), "table"), columns, DATA.training, { records: (r) => r.records });
  }
}

function drawRecords() {
  const columns = ["file", "seed", "commit", "machine", "created", "command"].map((name) => ({
    head: name, number: false, text: (r) => `${r[name] ?? "—"}${name === "commit" && r.dirty ? " (changed)" : ""}`, value: (r) => r[name],
  }));
  const wanted = byId("record-search").value.toLowerCase();
  const rows = DATA.records.filter((r) => Object.values(r).join(" ").toLowerCase().includes(wanted));
  sortable(byId("records"), columns, rows, { records: () => null });
}

function showResults() {
  const measured = DATA.table1.filter((r) => r.records.length).length;
  byId("made").textContent = `Our numbers come from ${DATA.records.length} records: point at one to see which. This page loads nothing from anywhere.`;
  byId("table1-lead").textContent = `${measured} lines measured here, beside what the paper says of them. ▲ and ▼: ours above or below the claim. Where it is below, the table says so.`;
  for (const note of DATA.notes) put(byId("notes"), "p", {}, note);
  choice("clock", CLOCK_HEADS, view.clock, (value) => { view.clock = value; drawTable1(); drawFrontier(); });
  choice("cost", { synops: "SynOps", macs: "MACs" }, view.cost, (value) => { view.cost = value; drawTable1(); });
  choice("axis", { log: "logarithmic", linear: "linear" }, view.axis, (value) => { view.axis = value; drawFrontier(); });
  byId("measured-only").addEventListener("change", (event) => { view.measured = event.target.checked; drawTable1(); });
  byId("swept").addEventListener("change", (event) => { view.swept = event.target.checked; drawFrontier(); });
  byId("record-search").addEventListener("input", drawRecords);
  drawTable1();
  drawLegend();
  redrawn(byId("frontier"), drawFrontier);
  drawFigures();
  drawPeers();
  drawSpeed();
  drawRecords();
}

const tabs = ["results", "play"];
function showTab(name) {
  hideTip();
  for (const other of tabs) {
    const tab = byId(`tab-${other}`), chosen = other === name;
    byId(other).hidden = !chosen;
    tab.setAttribute("aria-selected", chosen);
    tab.tabIndex = chosen ? 0 : -1;
  }
  if (name === "play") startPlay();
}
for (const name of tabs) byId(`tab-${name}`).addEventListener("click", () => showTab(name));
document.querySelector("[role=tablist]").addEventListener("keydown", (event) => {
  if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
  const next = tabs.find((name) => byId(name).hidden);
  showTab(next);
  byId(`tab-${next}`).focus();
});

showResults();
