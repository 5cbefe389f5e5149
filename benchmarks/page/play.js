// The second tab: a digit arrives spike by spike, a word as it is heard, and the networks answer.

const logit = (p) => Math.log(p / (1 - p));
// Chances on a scale of log-odds: what happens near 1 is seen, and near 0 too.
const LOW = logit(0.02), HIGH = logit(0.9999);
const chance = (p) => Math.max(0, Math.min(1, (logit(Math.min(Math.max(p, 1e-9), 1 - 1e-9)) - LOW) / (HIGH - LOW)));
const CHANCES = [0.02, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999].map((p) => [p, String(p)]);
const DASHES = ["", "7 3", "2 3", "9 3 2 3", "5 5", "1 4", "12 3", "4 2 1 2", "8 6", "3 6"];

// Probabilities over the steps, θ as a line, and where the answer fired. `at` is how far the input has come.
function drawTrace(box, { network, trace, decision, theta, times, at, xLabel, xTicks, most }) {
  const { root, sx, sy, area } = axes(box, {
    height: 340, x: (t) => t / most, y: chance, xTicks, yTicks: CHANCES, xLabel, yLabel: "probability (log-odds)", label: "Probability of each class over time",
  });
  const answered = times[decision.step];
  if (answered < most) svg(root, "rect", { x: sx(answered), y: area.top, width: sx(most) - sx(answered), height: area.bottom - area.top, fill: "var(--soft)", opacity: 0.1 });
  network.classes.forEach((name, k) => {
    const known = trace.map(({ p }, t) => [times[t], p[k], t]).filter(([t]) => t <= at);
    if (!known.length) return;
    const [peakAt, peak] = known.reduce((best, one) => (one[1] > best[1] ? one : best));
    const top = k === decision.label, style = { fill: "none", stroke: top ? "var(--c0)" : "var(--soft)", "stroke-width": top ? 3 : 1.2 };
    for (const [part, opacity] of [[known.filter(([, , t]) => t <= decision.step), 1], [known.filter(([, , t]) => t >= decision.step), 0.35]]) {
      svg(root, "polyline", { points: part.map(([t, p]) => `${sx(t)},${sy(p)}`).join(" "), ...style, opacity: top ? opacity : opacity * 0.7, "stroke-dasharray": top ? "" : DASHES[k % DASHES.length] });
      if (part.length === 1) svg(root, "circle", { cx: sx(part[0][0]), cy: sy(part[0][1]), r: top ? 4 : 2, fill: style.stroke, opacity });
    }
    if (!top && peak > 0.12) svg(root, "text", { x: Math.min(sx(peakAt), area.right - 20), y: sy(peak) - 5, class: "soft", "text-anchor": "middle" }, name);
  });
  svg(root, "line", { x1: area.left, x2: area.right, y1: sy(theta), y2: sy(theta), class: "theta" });
  svg(root, "text", { x: area.right - 2, y: sy(theta) - 5, "text-anchor": "end", "font-weight": 700 }, "θ");
  if (at >= answered) {
    const x = sx(answered), right = x > (area.left + area.right) / 2;
    svg(root, "line", { x1: x, x2: x, y1: area.top, y2: area.bottom, stroke: "var(--hot)", "stroke-width": 2 });
    svg(root, "circle", { cx: x, cy: sy(decision.scores[decision.label]), r: 7, fill: decision.fired ? "var(--hot)" : "var(--card)", stroke: "var(--hot)", "stroke-width": 2 });
    svg(root, "text", { x: x + (right ? -9 : 9), y: area.bottom - 8, "text-anchor": right ? "end" : "start", "font-weight": 700 }, `${network.classes[decision.label]}, ${decision.fired ? "fired" : "forced"}`);
  }
}

function drawBars(box, network, p) {
  const top = p ? p.indexOf(Math.max(...p)) : -1;
  box.replaceChildren();
  network.classes.forEach((name, k) => {
    const bar = put(box, "div", { class: k === top ? "bar top" : "bar" });
    bar.style.setProperty("--p", p ? `${100 * p[k]}%` : "0%");
    put(bar, "b", {}, name);
    bar.append(p ? p[k].toFixed(3) : "—");
  });
}

// Grey levels in a canvas; `level(i)` is a number 0..255, or [r, g, b].
function paint(canvas, level) {
  const context = canvas.getContext("2d"), image = context.createImageData(canvas.width, canvas.height);
  for (let i = 0; i < canvas.width * canvas.height; i++) {
    const value = level(i), [r, g, b] = Array.isArray(value) ? value : [value, value, value];
    image.data.set([r, g, b, 255], 4 * i);
  }
  context.putImageData(image, 0, 0);
}

// A slider of θ on the scale of log-odds.
function thetaSlider(name, initial, changed) {
  const slider = byId(`${name}-theta`), shown = byId(`${name}-theta-out`);
  const set = (theta) => { shown.textContent = theta < 0.99 ? theta.toFixed(3) : theta.toFixed(5); changed(theta); };
  slider.addEventListener("input", () => set(sigmoid(Number(slider.value))));
  byId(`${name}-reset`).addEventListener("click", () => { slider.value = logit(initial); set(initial); });
  slider.value = logit(initial);
  shown.textContent = initial < 0.99 ? initial.toFixed(3) : initial.toFixed(5);
}

const shownChance = (p) => (p > 0.99995 ? "p > 0.9999" : `p = ${p.toFixed(4)}`);

function pressed(box, button) {
  for (const other of box.children) other.setAttribute("aria-pressed", other === button);
}

function measuredText(measured, records) {
  const span = put(null, "span", { tabindex: 0 }, measured.accuracy ? `${(100 * measured.accuracy).toFixed(2)} % of ${measured.n.toLocaleString("en")} test samples right at its own θ.` : "");
  return ofRecords(span, records);
}

class DigitPlayer {
  constructor(about) {
    this.about = about;
    this.network = new Lstm(about.network);
    this.theta = this.network.theta ?? 0.95;
    this.at = 0;
    const lead = byId("digit-lead"), order = about.encoder.polarity === "dark_first" ? "dark pixels first" : "bright pixels first";
    lead.append(`${this.network.name} (784-${this.network.nHidden}-10) runs in this page. Each pixel spikes once, ${order}, in ${this.network.nSteps} steps. `, measuredText(this.network.measured, about.records), ` Digits: the first of each class of ${about.source}.`);
    this.choose();
    this.listenToPad();
    thetaSlider("digit", this.theta, (theta) => { this.theta = theta; this.mark(); this.answer(); });
    const slider = byId("digit-step");
    slider.max = this.network.nSteps - 1;
    slider.addEventListener("input", () => { this.stop(); this.at = Number(slider.value); this.draw(); });
    byId("digit-play").addEventListener("click", () => (this.timer ? this.stop() : this.play()));
    redrawn(byId("digit-chart"), () => this.draw());
    this.mark();
    // The one that it waits longest for, and then fires, shows most.
    const steps = this.known.map(({ trace }) => decide(trace, this.theta)).map(({ step, fired }) => (fired ? step : 0));
    byId("digit-choice").children[steps.indexOf(Math.max(...steps))].click();
  }

  choose() {
    const box = byId("digit-choice");
    this.known = this.about.images.map(({ grey, label }) => ({ label, ...traceDigit(this.network, this.about.encoder, bytesOf(grey)) }));
    for (const image of this.about.images) {
      const grey = bytesOf(image.grey), button = put(box, "button", { type: "button", "aria-label": `Digit ${image.label}, image ${image.place}`, "aria-pressed": false });
      paint(put(button, "canvas", { width: 28, height: 28 }), (i) => grey[i]);
      put(button, "small");
      button.addEventListener("click", () => { pressed(box, button); this.read(grey, image.label); });
    }
  }

  // Below each digit: the step at which it is answered, and whether wrongly.
  mark() {
    this.known.forEach(({ trace, label }, i) => {
      const { step, fired, label: said } = decide(trace, this.theta), button = byId("digit-choice").children[i];
      button.className = said === label ? "" : "wrong";
      button.lastChild.textContent = said === label ? (fired ? `step ${step}` : "forced") : `✗ ${said}`;
    });
  }

  read(grey, label) {
    this.stop();
    this.label = label;
    Object.assign(this, traceDigit(this.network, this.about.encoder, grey));
    this.at = this.network.nSteps - 1;
    this.answer();
  }

  answer() {
    this.decision = decide(this.trace, this.theta);
    this.draw();
  }

  play() {
    this.at = -1;
    byId("digit-play").textContent = "■ Stop";
    const tick = () => {
      this.at += 1;
      this.draw();
      if (this.at >= this.network.nSteps - 1) this.stop();
    };
    this.timer = setInterval(tick, 4000 / this.network.nSteps);
    tick();
  }

  stop() {
    clearInterval(this.timer);
    this.timer = null;
    byId("digit-play").textContent = "▶ Play";
  }

  draw() {
    const { network, trace, steps, decision, theta, at } = this, last = network.nSteps;
    if (!trace || at < 0) return;
    const computed = trace[Math.min(at, decision.step)]; // after the answer the network stands still
    byId("digit-step").value = at;
    paint(byId("arrived"), (i) => (steps[i] === at ? [255, 217, 168] : steps[i] < at ? [110, 124, 138] : [0, 0, 0]));
    const units = byId("units"), rows = Math.ceil(network.nHidden / 34);
    if (units.height !== rows) units.height = rows;
    paint(units, (i) => (i < network.nHidden ? Math.round(127.5 * (1 + computed.h[i])) : 0));
    const every = Math.max(1, Math.ceil(last / 10));
    drawTrace(byId("digit-chart"), {
      network, trace, decision, theta, at: at + 1, times: trace.map((_, t) => t + 1), most: last, xLabel: `steps that have arrived (${last} are one frame)`,
      xTicks: Array.from({ length: last + 1 }, (_, t) => [t, String(t)]).filter(([t]) => t % every === 0),
    });
    drawBars(byId("digit-bars"), network, computed.p);
    this.say();
  }

  say() {
    const { network, steps, decision, at } = this, box = byId("digit-answer"), last = network.nSteps;
    box.replaceChildren();
    box.className = at >= decision.step && decision.fired ? "answer fired" : "answer";
    if (at < decision.step) { box.append(`Step ${at}: no class has reached θ. Waiting.`); return; }
    put(box, "strong", {}, network.classes[decision.label]);
    const p = shownChance(decision.scores[decision.label]);
    box.append(decision.fired ? ` fired at step ${decision.step}, ${p}` : ` forced at the last step, ${p}: nothing reached θ`);
    const spikes = steps.filter((s) => s < last).length, seen = steps.filter((s) => s <= decision.step).length;
    const right = this.label === null ? "" : decision.label === this.label ? "Right. " : `Wrong: it is a ${this.label}. `;
    const saved = last - 1 - decision.step;
    put(box, "small", {}, `${right}${Number(((100 * (decision.step + 1)) / last).toFixed(1))} % of the frame, ${Math.round((100 * seen) / Math.max(spikes, 1))} % of the spikes. ${saved ? `${saved} steps are never computed; the pale lines show what they would say.` : "All steps were computed."}`);
  }

  listenToPad() {
    const pad = byId("pad"), ink = pad.getContext("2d", { willReadFrequently: true });
    const clear = () => { ink.fillStyle = "#000"; ink.fillRect(0, 0, pad.width, pad.height); };
    const place = (event) => { const box = pad.getBoundingClientRect(); return [((event.clientX - box.left) / box.width) * pad.width, ((event.clientY - box.top) / box.height) * pad.height]; };
    let from = null;
    clear();
    Object.assign(ink, { lineWidth: 22, lineCap: "round", lineJoin: "round", strokeStyle: "#fff" });
    const stroke = (to) => { ink.beginPath(); ink.moveTo(...from); ink.lineTo(...to); ink.stroke(); from = to; };
    pad.addEventListener("pointerdown", (event) => { pad.setPointerCapture(event.pointerId); pad.parentElement.classList.add("used"); from = place(event); stroke(from); });
    pad.addEventListener("pointermove", (event) => { if (from) stroke(place(event)); });
    for (const name of ["pointerup", "pointercancel"]) pad.addEventListener(name, () => {
      if (!from) return;
      from = null;
      const grey = asMnist(pad);
      if (grey) { pressed(byId("digit-choice"), null); this.read(grey, null); }
    });
    byId("clear").addEventListener("click", () => { clear(); pad.parentElement.classList.remove("used"); });
  }
}

// Ink as MNIST's makers prepared theirs: the longer side 20 pixels, the centre of mass in the middle of 28 x 28.
function asMnist(pad) {
  const { width, height } = pad, ink = pad.getContext("2d").getImageData(0, 0, width, height).data;
  let [left, top, right, bottom] = [width, height, -1, -1];
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) if (ink[4 * (y * width + x)] > 60) {
    left = Math.min(left, x); right = Math.max(right, x); top = Math.min(top, y); bottom = Math.max(bottom, y);
  }
  if (right < 0) return null;
  const w = right - left + 1, h = bottom - top + 1, scale = 20 / Math.max(w, h);
  const drawn = (dx, dy) => {
    // In halves, so that no stroke falls between the pixels of the small image.
    let [from, sx, sy, sw, sh] = [pad, left, top, w, h];
    while (sw * 0.5 > w * scale) {
      const half = new OffscreenCanvas(Math.ceil(sw / 2), Math.ceil(sh / 2));
      half.getContext("2d").drawImage(from, sx, sy, sw, sh, 0, 0, sw / 2, sh / 2);
      [from, sx, sy, sw, sh] = [half, 0, 0, sw / 2, sh / 2];
    }
    const small = new OffscreenCanvas(28, 28), context = small.getContext("2d");
    context.fillRect(0, 0, 28, 28);
    context.drawImage(from, sx, sy, sw, sh, dx, dy, w * scale, h * scale);
    const data = context.getImageData(0, 0, 28, 28).data;
    return Uint8Array.from({ length: 784 }, (_, i) => data[4 * i]);
  };
  const middle = [(28 - w * scale) / 2, (28 - h * scale) / 2], first = drawn(...middle);
  const mass = first.reduce((a, b) => a + b, 0);
  const at = (place) => first.reduce((sum, g, i) => sum + g * place(i), 0) / mass + 0.5;
  return drawn(middle[0] + Math.round(14 - at((i) => i % 28)), middle[1] + Math.round(14 - at((i) => Math.floor(i / 28))));
}

class WordPlayer {
  constructor(about) {
    this.about = about;
    this.network = new Lstm(about.network);
    this.theta = this.network.theta;
    byId("word-lead").append(`${this.network.name} (${this.network.nInputs}-${this.network.nHidden}-32-${this.network.nClasses}) hears a second as a microphone delivers it; context and window are counted in the time. `, measuredText(this.network.measured, about.records), " Recordings: the first of each word in the test split of Google Speech Commands (P. Warden, arXiv:1804.03209; © Google, licence CC BY 4.0; as WAV here).");
    const box = byId("word-choice");
    for (const clip of about.clips) {
      const button = put(box, "button", { type: "button", "aria-pressed": false, title: clip.file }, clip.label === this.network.nClasses - 1 ? `${clip.word} (unknown)` : clip.word);
      button.addEventListener("click", () => { pressed(box, button); this.hear(clip); });
    }
    thetaSlider("word", this.theta, (theta) => { this.theta = theta; this.answer(); });
    byId("word-play").addEventListener("click", () => (this.playing ? this.stop() : this.play()));
    redrawn(byId("word-chart"), () => this.draw());
    box.children[Math.min(6, box.children.length - 1)].click();
  }

  hear(clip) {
    this.stop();
    this.clip = clip;
    this.frames = floats(clip.frames);
    this.trace = traceWord(this.network, this.frames, this.about.nMels, this.about.context);
    this.sound = new Audio(clip.sound);
    this.at = this.about.clipMs;
    this.answer();
  }

  answer() {
    this.decision = decide(this.trace, this.theta);
    this.draw();
  }

  play() {
    const began = performance.now();
    this.playing = true;
    byId("word-play").textContent = "■ Stop";
    this.sound.currentTime = 0;
    this.sound.play().catch(() => {}); // without a loudspeaker the picture still moves
    const tick = () => {
      if (!this.playing) return;
      this.at = Math.min(performance.now() - began, this.about.clipMs);
      this.draw();
      if (this.at >= this.about.clipMs) this.stop(); else requestAnimationFrame(tick);
    };
    tick();
  }

  stop() {
    if (this.playing) this.sound.pause();
    this.playing = false;
    byId("word-play").textContent = "▶ Play with sound";
  }

  draw() {
    const { about, network, trace, decision, theta, at, frames } = this;
    if (!trace) return;
    paint(byId("heard"), (i) => {
      const frame = i % 101, band = about.nMels - 1 - Math.floor(i / 101);
      if (frame * about.hopMs > at) return [0, 0, 0];
      const level = Math.max(0, Math.min(255, 128 + 70 * frames[frame * about.nMels + band]));
      return frame * about.hopMs > about.heardMs[decision.step] ? 0.35 * level : level;
    });
    drawTrace(byId("word-chart"), {
      network, trace, decision, theta, at, times: about.heardMs, most: about.clipMs, xLabel: "heard (ms)",
      xTicks: [0, 200, 400, 600, 800, 1000].map((t) => [t, String(t)]),
    });
    const step = about.heardMs.filter((ms) => ms <= at).length - 1;
    drawBars(byId("word-bars"), network, step < 0 ? null : trace[Math.min(step, decision.step)].p);
    const box = byId("word-answer"), ms = about.heardMs[decision.step];
    const said = at < ms ? "wait" : `${decision.step} ${decision.label} ${decision.fired} ${this.clip.file}`;
    if (box.dataset.said === said) return; // once, not at every frame of the screen
    box.dataset.said = said;
    box.replaceChildren();
    box.className = at >= ms && decision.fired ? "answer fired" : "answer";
    const p = shownChance(decision.scores[decision.label]);
    if (at < ms) { box.append("Listening: no class has reached θ."); return; }
    put(box, "strong", {}, network.classes[decision.label]);
    box.append(decision.fired ? ` fired at ${ms} ms, ${p}` : ` forced at the end of the clip, ${p}: nothing reached θ`);
    put(box, "small", {}, `${decision.label === this.clip.label ? "Right" : `Wrong: the word is ${this.clip.word}`}. ${trace.length - 1 - decision.step} of ${trace.length} steps are never computed.`);
  }
}

const players = {};
function startPlay() {
  if (players.digit) return;
  players.digit = new DigitPlayer(DATA.digits);
  if (DATA.words.missing) {
    byId("word-player").replaceChildren(put(null, "p", { class: "missing" }, `No recordings: ${DATA.words.missing}`));
  } else players.word = new WordPlayer(DATA.words);
}
