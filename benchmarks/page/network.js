// An LSTM with a softmax read-out, as rc_snn.models.RCLSTM computes it: what `decide` does, in the page.

function bytesOf(text) {
  return Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
}

const HALVES = (() => {
  // All 65,536 numbers of float16, by their bits.
  const table = new Float32Array(65536);
  for (let bits = 0; bits < 65536; bits++) {
    const exponent = (bits >> 10) & 31, fraction = bits & 1023;
    const size = exponent === 0 ? fraction * 2 ** -24
      : exponent === 31 ? (fraction ? NaN : Infinity)
      : (1 + fraction / 1024) * 2 ** (exponent - 15);
    table[bits] = bits & 32768 ? -size : size;
  }
  return table;
})();

function halves(text) {
  return Float32Array.from(new Uint16Array(bytesOf(text).buffer), (bits) => HALVES[bits]);
}

function floats(text) {
  return new Float32Array(bytesOf(text).buffer);
}

const sigmoid = (x) => 1 / (1 + Math.exp(-x));

class Lstm {
  constructor(about) {
    Object.assign(this, about);
    for (const name of ["ih", "hh", "biasIh", "biasHh", "out", "outBias", "dense", "denseBias"]) {
      if (about[name]) this[name] = halves(about[name]);
    }
    this.nGates = 4 * this.nHidden;
    this.bias = Float64Array.from(this.biasIh, (b, i) => b + this.biasHh[i]);
    this.fedMean = about.mean ? this.productsWithMean(floats(about.mean)) : null;
  }

  // What the mean input of each step adds to the gates: subtracted from every sample's.
  productsWithMean(mean) {
    return Array.from({ length: this.nSteps }, (_, step) => {
      const gates = new Float64Array(this.nGates);
      this.addDense(gates, this.ih, mean.subarray(step * this.nInputs, (step + 1) * this.nInputs));
      return gates;
    });
  }

  addColumn(gates, weights, column, factor) {
    const begin = column * this.nGates;
    for (let i = 0; i < this.nGates; i++) gates[i] += factor * weights[begin + i];
  }

  addDense(gates, weights, x) {
    for (let j = 0; j < x.length; j++) if (x[j] !== 0) this.addColumn(gates, weights, j, x[j]);
  }

  // One step: `feed` adds the products with the input to the gates.
  step(t, feed, state) {
    const gates = Float64Array.from(this.bias), n = this.nHidden;
    feed(gates);
    if (this.fedMean) for (let i = 0; i < this.nGates; i++) gates[i] -= this.fedMean[t][i];
    if (state) this.addDense(gates, this.hh, state.h);
    const h = new Float32Array(n), c = new Float32Array(n);
    for (let j = 0; j < n; j++) { // torch's order: input, forget, cell, output
      const kept = state ? sigmoid(gates[n + j]) * state.c[j] : 0;
      c[j] = kept + sigmoid(gates[j]) * Math.tanh(gates[2 * n + j]);
      h[j] = sigmoid(gates[3 * n + j]) * Math.tanh(c[j]);
    }
    return { h, c };
  }

  affine(x, weights, bias) {
    return Float64Array.from(bias, (b, row) => {
      let sum = b;
      for (let j = 0; j < x.length; j++) sum += weights[row * x.length + j] * x[j];
      return sum;
    });
  }

  probabilities(h) {
    const features = this.dense ? this.affine(h, this.dense, this.denseBias).map((x) => Math.max(x, 0)) : h;
    const logits = this.affine(features, this.out, this.outBias), top = Math.max(...logits);
    const powers = logits.map((z) => Math.exp(z - top));
    const sum = powers.reduce((a, b) => a + b, 0);
    return Float32Array.from(powers, (p) => p / sum);
  }

  // All steps: what would be said at each. `feeds[t]` feeds step t.
  trace(feeds) {
    let state = null;
    return feeds.map((feed, t) => {
      state = this.step(t, feed, state);
      return { h: state.h, p: this.probabilities(state.h) };
    });
  }
}

// The first step at which a probability reaches θ; at the last one an answer is forced.
function decide(trace, theta) {
  const limit = Math.fround(theta);
  const found = trace.findIndex(({ p }) => Math.max(...p) >= limit);
  const step = found < 0 ? trace.length - 1 : found, { p } = trace[step];
  return { step, fired: found >= 0, label: p.indexOf(Math.max(...p)), scores: p };
}

// The step at which each pixel spikes: floor(t T), t = g/255 of frame T, or 1 - g/255 (bright first).
// Integers, so that no edge is rounded; what would fall on the frame's end is in the last step, or silent.
function spikeSteps(grey, encoder, nSteps) {
  return Int32Array.from(grey, (g) => {
    const numerator = encoder.polarity === "dark_first" ? g : 255 - g;
    if (numerator === 255) return encoder.zero_pixels === "silent" ? nSteps : nSteps - 1;
    return Math.floor((numerator * nSteps) / 255);
  });
}

function traceDigit(network, encoder, grey) {
  const steps = spikeSteps(grey, encoder, network.nSteps);
  const feeds = Array.from({ length: network.nSteps }, (_, t) => (gates) => {
    for (let i = 0; i < steps.length; i++) if (steps[i] === t) network.addColumn(gates, network.ih, i, 1);
  });
  return { steps, trace: network.trace(feeds) };
}

// A step reads `context + 1` frames in a row.
function traceWord(network, frames, nMels, context) {
  const width = (context + 1) * nMels;
  const feeds = Array.from({ length: network.nSteps }, (_, t) => (gates) =>
    network.addDense(gates, network.ih, frames.subarray(t * nMels, t * nMels + width)));
  return network.trace(feeds);
}
