// Elements, SVG, and the tooltip that says where a number comes from.

const DATA = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);

function put(parent, name, attributes = {}, text = null, space = null) {
  const element = space ? document.createElementNS(space, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) if (value !== null && value !== undefined) element.setAttribute(key, value);
  if (text !== null) element.textContent = text;
  parent?.append(element);
  return element;
}

const svg = (parent, name, attributes, text) => put(parent, name, attributes, text, "http://www.w3.org/2000/svg");

// Radio buttons in a fieldset; `changed` gets the value that is chosen.
function choice(fieldset, options, chosen, changed) {
  for (const [value, text] of Object.entries(options)) {
    const label = put(byId(fieldset), "label");
    const input = put(label, "input", { type: "radio", name: fieldset, value });
    input.checked = value === chosen;
    input.addEventListener("change", () => changed(value));
    label.append(text);
  }
}

const COLOURS = Array.from({ length: 10 }, (_, i) => `var(--c${i})`);
const SHAPES = ["circle", "square", "triangle", "diamond", "cross", "star", "down", "plus", "hexagon", "bar"];

function polygon(corners, radius, turn = 0) {
  return Array.from({ length: corners }, (_, i) => {
    const angle = turn + (2 * Math.PI * i) / corners - Math.PI / 2;
    return `${radius * Math.cos(angle)},${radius * Math.sin(angle)}`;
  }).join(" ");
}

// A marker of one of the shapes, so that kinds differ without colour, too.
function marker(parent, shape, x, y, colour, filled = false) {
  const g = svg(parent, "g", { transform: `translate(${x} ${y})`, stroke: colour, fill: filled ? colour : "var(--card)", "stroke-width": 2 });
  const lines = { cross: "M-5-5L5 5M-5 5L5-5", plus: "M-6 0H6M0-6V6", bar: "M-6-3H6M-6 3H6", star: "M-6 0H6M-3-5L3 5M-3 5L3-5" };
  const corners = { square: [4, 7, Math.PI / 4], triangle: [3, 7], diamond: [4, 7.5], down: [3, 7, Math.PI], hexagon: [6, 6.5] };
  if (shape === "circle") svg(g, "circle", { r: 5.5 });
  else if (lines[shape]) { svg(g, "circle", { r: 7, stroke: "none", fill: "transparent" }); svg(g, "path", { d: lines[shape] }); }
  else svg(g, "polygon", { points: polygon(...corners[shape]) });
  return g;
}

// Axes with a grid in a new drawing. Scales are functions to pixels; ticks are [value, text].
function axes(box, { height, x, y, xTicks, yTicks, xLabel, yLabel, label }) {
  box.replaceChildren();
  const width = Math.max(box.clientWidth, 300), area = { left: 56, right: width - 16, top: 14, bottom: height - 44 };
  const root = svg(box, "svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": label });
  const sx = (v) => area.left + x(v) * (area.right - area.left), sy = (v) => area.bottom - y(v) * (area.bottom - area.top);
  for (const [value, text] of xTicks) {
    svg(root, "line", { x1: sx(value), x2: sx(value), y1: area.top, y2: area.bottom, class: "grid" });
    svg(root, "text", { x: sx(value), y: area.bottom + 17, "text-anchor": "middle", class: "soft" }, text);
  }
  for (const [value, text] of yTicks) {
    svg(root, "line", { x1: area.left, x2: area.right, y1: sy(value), y2: sy(value), class: "grid" });
    svg(root, "text", { x: area.left - 7, y: sy(value) + 4, "text-anchor": "end", class: "soft" }, text);
  }
  svg(root, "text", { x: (area.left + area.right) / 2, y: height - 8, "text-anchor": "middle" }, xLabel);
  svg(root, "text", { x: 14, y: (area.top + area.bottom) / 2, "text-anchor": "middle", transform: `rotate(-90 14 ${(area.top + area.bottom) / 2})` }, yLabel);
  return { root, sx, sy, area };
}

// Charts are as wide as their place: drawn again when that changes.
function redrawn(box, draw) {
  let width = 0;
  new ResizeObserver(() => { if (box.clientWidth !== width) { width = box.clientWidth; if (width) draw(); } }).observe(box);
}

function distinct(values) {
  return [...new Set(values.filter((v) => v !== null && v !== undefined && v !== ""))];
}

// What is known of the records behind a number.
function provenance(places, tip) {
  const records = places.map((i) => DATA.records[i]), seeds = distinct(records.map((r) => r.seed));
  put(tip, "b", {}, `${records.length} record${records.length === 1 ? "" : "s"}${seeds.length ? `, seed${seeds.length === 1 ? "" : "s"} ${seeds.join(", ")}` : ""}`);
  for (const r of records.slice(0, 3)) {
    put(tip, "p", {}, `results/${r.file}: commit ${r.commit}${r.dirty ? " (changed)" : ""}, ${r.machine}, ${r.created}`);
  }
  if (records.length > 3) put(tip, "p", {}, `and ${records.length - 3} more, listed under Records`);
}

function showTip(target) {
  const tip = byId("tip");
  tip.replaceChildren();
  if (target.dataset.note) put(tip, "b", {}, target.dataset.note);
  if (target.dataset.records) provenance(JSON.parse(target.dataset.records), tip);
  tip.hidden = false;
  const at = target.getBoundingClientRect(), own = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(6, Math.min(at.left, innerWidth - own.width - 6))}px`;
  tip.style.top = `${at.bottom + own.height + 8 < innerHeight ? at.bottom + 6 : Math.max(6, at.top - own.height - 6)}px`;
}

function hideTip() { byId("tip").hidden = true; }

for (const name of ["pointerover", "focusin", "click"]) {
  document.addEventListener(name, (event) => {
    const target = event.target.closest?.("[data-records], [data-note]");
    if (target) showTip(target); else hideTip();
  });
}
document.addEventListener("keydown", (event) => { if (event.key === "Escape") hideTip(); });
document.addEventListener("scroll", hideTip, true);

// Marks an element as a number of these records.
function ofRecords(element, places, note = null) {
  if (places?.length) element.dataset.records = JSON.stringify(places);
  if (note) element.dataset.note = note;
  return element;
}

// A table whose heads sort it. Columns are { head, text(row), value(row), number, title }; the first is the row's head.
function sortable(table, columns, rows, { records, rowClass = () => null, sort = null }) {
  const order = table.sortedBy ?? sort;
  table.replaceChildren();
  const head = put(put(table, "thead"), "tr"), body = put(table, "tbody");
  columns.forEach((column, i) => {
    const sorted = order?.head === column.head ? (order.down ? "descending" : "ascending") : "none";
    const th = put(head, "th", { scope: "col", class: column.number ? "n" : null, "aria-sort": sorted });
    put(th, "button", { type: "button", title: column.title }, column.head).addEventListener("click", () => {
      const same = table.sortedBy?.head === column.head;
      table.sortedBy = { head: column.head, down: same ? !table.sortedBy.down : Boolean(column.number) };
      sortable(table, columns, rows, { records, rowClass, sort });
      table.querySelectorAll("thead button")[i].focus();
    });
  });
  const by = columns.find((c) => c.head === order?.head);
  const shown = by ? [...rows].sort(comparing(by.value, order.down)) : rows;
  for (const row of shown) {
    const line = put(body, "tr", { class: rowClass(row) });
    columns.forEach((column, i) => {
      const cell = put(line, i ? "td" : "th", i ? { class: column.number ? "n" : null } : { scope: "row" });
      const content = column.text(row);
      if (content instanceof Node) cell.append(content); else cell.textContent = content;
      if (i && column.number !== false && records(row)?.length && content !== "—") {
        ofRecords(cell, records(row)).tabIndex = body.querySelector("td[tabindex='0']") ? -1 : 0;
      }
    });
  }
}

// Rows without a value come last, whichever way.
function comparing(value, down) {
  const missing = (v) => v === null || v === undefined || Number.isNaN(v);
  return (a, b) => {
    const [x, y] = [value(a), value(b)];
    if (missing(x) || missing(y)) return missing(x) - missing(y);
    return (typeof x === "string" ? x.localeCompare(y) : x - y) * (down ? -1 : 1);
  };
}

// Arrow keys go from number to number of a table.
document.addEventListener("keydown", (event) => {
  const cell = event.target.closest?.("td[tabindex]");
  const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  if (!cell || !moves[event.key]) return;
  const [down, right] = moves[event.key];
  let line = cell.parentElement, place = cell.cellIndex;
  for (;;) {
    line = down > 0 ? line.nextElementSibling : down < 0 ? line.previousElementSibling : line;
    place += right;
    const next = line?.cells[place];
    if (!next) return;
    if (next.hasAttribute("tabindex")) { event.preventDefault(); next.focus(); return; }
  }
});
