"use strict";
// model.py's forward pass, and what is read off it, in plain typed arrays: the same in a worker and in a test. Nothing here
// knows the page. Numbers come as float16 and are computed in JavaScript's own floats; a bias is that of a state, W state.

const Network = (() => {
  const EPSILON = 1e-5; // of the layer norms, as in model.py
  const TEMPERATURE = 0.8; // of drawing, as in scripts/sample.py; entropies are of the model's own odds

  /** The float16 numbers in a base64 text, as a Float32Array. */
  function decoded(text) {
    const bytes = atob(text);
    const powers = Float64Array.from({ length: 32 }, (_, exponent) => 2 ** (Math.max(exponent, 1) - 25));
    const found = new Float32Array(bytes.length / 2);
    for (let at = 0; at < found.length; at++) {
      const half = bytes.charCodeAt(2 * at) | (bytes.charCodeAt(2 * at + 1) << 8);
      const exponent = (half >> 10) & 31;
      const size = ((half & 1023) + (exponent ? 1024 : 0)) * powers[exponent];
      found[at] = half >> 15 ? -size : size;
    }
    return found;
  }

  /** The model in a page's facts and base64 weights: its sizes, and each array by name. */
  function load(facts, weights) {
    const numbers = decoded(weights);
    const arrays = {};
    let at = 0;
    for (const [name, size] of facts.arrays) arrays[name] = numbers.subarray(at, (at += size));
    return { ...facts.sizes, arrays };
  }

  /** The bias (n_embd) that a reader (n_embd, dim) makes of a state (dim). */
  function biasOf(model, reader, state) {
    const bias = new Float32Array(model.n_embd);
    linear(model.arrays[reader], null, Float32Array.from(state), 1, bias, model.n_embd);
    return bias;
  }

  /**
   * out = W x + b for `count` tokens: W (rows, inputs), x (count, inputs), out (count, rows), each row by row.
   * Four tokens and two rows at a time, since loads cost more than products; what is left over one by one.
   */
  function linear(W, b, x, count, out, rows, inputs = x.length / count) {
    const fours = count - (count % 4);
    const twos = rows - (rows % 2);
    for (let row = 0; row < twos; row += 2) {
      const w0 = row * inputs;
      const w1 = w0 + inputs;
      for (let token = 0; token < fours; token += 4) {
        const x0 = token * inputs;
        const x1 = x0 + inputs;
        const x2 = x1 + inputs;
        const x3 = x2 + inputs;
        let [s0, s1, s2, s3, t0, t1, t2, t3] = [0, 0, 0, 0, 0, 0, 0, 0];
        for (let at = 0; at < inputs; at++) {
          const first = W[w0 + at];
          const second = W[w1 + at];
          let one = x[x0 + at];
          s0 += first * one;
          t0 += second * one;
          one = x[x1 + at];
          s1 += first * one;
          t1 += second * one;
          one = x[x2 + at];
          s2 += first * one;
          t2 += second * one;
          one = x[x3 + at];
          s3 += first * one;
          t3 += second * one;
        }
        let place = token * rows + row;
        out[place] = s0;
        out[place + 1] = t0;
        out[(place += rows)] = s1;
        out[place + 1] = t1;
        out[(place += rows)] = s2;
        out[place + 1] = t2;
        out[(place += rows)] = s3;
        out[place + 1] = t3;
      }
    }
    for (let token = 0; token < count; token++)
      for (let row = token < fours ? twos : 0; row < rows; row++)
        out[token * rows + row] = product(W, row * inputs, x, token * inputs, inputs);
    if (b) for (let place = 0; place < count * rows; place++) out[place] += b[place % rows];
  }

  /** The sum of the products of so many numbers of two arrays, from two places on. */
  function product(one, from, other, start, count) {
    let s0 = 0;
    let s1 = 0;
    let s2 = 0;
    let s3 = 0;
    let at = 0;
    for (; at + 4 <= count; at += 4) {
      s0 += one[from + at] * other[start + at];
      s1 += one[from + at + 1] * other[start + at + 1];
      s2 += one[from + at + 2] * other[start + at + 2];
      s3 += one[from + at + 3] * other[start + at + 3];
    }
    for (; at < count; at++) s0 += one[from + at] * other[start + at];
    return s0 + s1 + (s2 + s3);
  }

  /** Each of `count` tokens of x (count, width) to mean 0 and variance 1, times a weight, plus b. */
  function layerNorm(weight, b, x, count, out) {
    const width = weight.length;
    for (let from = 0; from < count * width; from += width) {
      let mean = 0;
      let variance = 0;
      for (let at = 0; at < width; at++) mean += x[from + at] / width;
      for (let at = 0; at < width; at++) variance += (x[from + at] - mean) ** 2 / width;
      const scale = 1 / Math.sqrt(variance + EPSILON);
      for (let at = 0; at < width; at++) out[from + at] = (x[from + at] - mean) * scale * weight[at] + (b ? b[at] : 0);
    }
  }

  /** x Phi(x). The error function by Abramowitz and Stegun (1964), 7.1.26, within 1.5e-7. */
  function gelu(x) {
    const z = Math.abs(x) * Math.SQRT1_2;
    const t = 1 / (1 + 0.3275911 * z);
    const tail =
      t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429)))) * Math.exp(-z * z);
    return (x * (x < 0 ? tail : 2 - tail)) / 2;
  }

  /** Weights in place to become weights that sum to one, of the first `count` numbers. */
  function softmax(x, count) {
    let most = -Infinity;
    for (let at = 0; at < count; at++) most = Math.max(most, x[at]);
    let sum = 0;
    for (let at = 0; at < count; at++) sum += x[at] = Math.exp(x[at] - most);
    for (let at = 0; at < count; at++) x[at] /= sum;
  }

  /** A text under one bias, at most block_size tokens of it; what earlier ones left is kept, so that each is read once. */
  class Reading {
    constructor(model, bias) {
      const { n_embd: width, n_layer: layers, block_size: block } = model;
      const room = (each) => new Float32Array(block * each);
      this.model = model;
      this.bias = bias;
      this.length = 0;
      this.keys = Array.from({ length: layers }, () => room(width));
      this.values = Array.from({ length: layers }, () => room(width));
      [this.x, this.normed, this.added] = [room(width), room(width), room(width)];
      [this.qkv, this.hidden, this.logits] = [room(3 * width), room(4 * width), room(model.vocab_size)];
      this.scores = room(1);
    }

    /** The logits (vocab_size) of what comes after each of some more tokens; the next call overwrites them. */
    read(tokens) {
      const { arrays, n_embd: width, n_layer: layers, vocab_size: size } = this.model;
      const { x, normed, added, qkv, hidden, logits } = this;
      const count = tokens.length;
      const [words, places] = [arrays["tokens.weight"], arrays["positions.weight"]];
      const add = () => {
        for (let at = 0; at < count * width; at++) x[at] += added[at];
      };
      tokens.forEach((token, one) => {
        for (let at = 0; at < width; at++)
          x[one * width + at] = words[token * width + at] + places[(this.length + one) * width + at] + this.bias[at];
      });
      for (let layer = 0; layer < layers; layer++) {
        const get = (name) => arrays[`blocks.${layer}.${name}`];
        const through = (name, from, inputs, to, outputs) =>
          linear(get(`${name}.weight`), get(`${name}.bias`), from, count, to, outputs, inputs);
        layerNorm(get("norm1.weight"), get("norm1.bias"), x, count, normed);
        through("attention.qkv", normed, width, qkv, 3 * width);
        for (let one = 0; one < count; one++) this.attend(layer, one);
        through("attention.proj", normed, width, added, width);
        add();
        layerNorm(get("norm2.weight"), get("norm2.bias"), x, count, normed);
        through("up", normed, width, hidden, 4 * width);
        for (let at = 0; at < count * 4 * width; at++) hidden[at] = gelu(hidden[at]);
        through("down", hidden, 4 * width, added, width);
        add();
      }
      layerNorm(arrays["norm.weight"], arrays["norm.bias"], x, count, normed);
      linear(words, null, normed, count, logits, size, width);
      this.length += count;
      return tokens.map((_, one) => logits.subarray(one * size, (one + 1) * size));
    }

    /** Leaves in `normed` what each head of a layer reads for one of the new tokens from those up to it. */
    attend(layer, one) {
      const { n_embd: width, n_head: heads } = this.model;
      const { qkv, normed, scores } = this;
      const [keys, values] = [this.keys[layer], this.values[layer]];
      const size = width / heads;
      const [query, now, last] = [one * 3 * width, one * width, this.length + one];
      keys.set(qkv.subarray(query + width, query + 2 * width), last * width);
      values.set(qkv.subarray(query + 2 * width, query + 3 * width), last * width);
      for (let first = 0; first < width; first += size) {
        for (let past = 0; past <= last; past++)
          scores[past] = product(qkv, query + first, keys, past * width + first, size) / Math.sqrt(size);
        softmax(scores, last + 1);
        normed.fill(0, now + first, now + first + size);
        for (let past = 0; past <= last; past++)
          for (let at = first; at < first + size; at++) normed[now + at] += scores[past] * values[past * width + at];
      }
    }
  }

  /** The odds (vocab_size) that logits mean, at a temperature. */
  function odds(logits, temperature = 1) {
    const p = Float64Array.from(logits, (logit) => logit / temperature);
    softmax(p, p.length);
    return p;
  }

  /** -sum p ln p, nats. */
  const entropy = (p) => p.reduce((sum, one) => (one > 0 ? sum - one * Math.log(one) : sum), 0);

  /** A number in [0, 1) of a seed and a counter: equal for equal ones, whatever is written. Mixing: Steele et al. (2014). */
  function uniform(seed, counter) {
    let mixed = (Math.imul(seed, 0x9e3779b1) + Math.imul(counter + 1, 0x85ebca77)) | 0;
    mixed = Math.imul(mixed ^ (mixed >>> 16), 0x21f0aaad);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
    return ((mixed ^ (mixed >>> 15)) >>> 0) / 2 ** 32;
  }

  /**
   * Goes on from a prompt, one token a turn: { token, entropy of the odds it was drawn from, likely: [[token, odds], ...] }.
   * Where the model's window is full, it goes on from its second half.
   */
  function* written(model, bias, prompt, length, seed, shown) {
    let reading = new Reading(model, bias);
    let told = [...prompt];
    let logits = reading.read(told).at(-1);
    for (let count = 0; count < length; count++) {
      const own = odds(logits);
      const drawn = odds(logits, TEMPERATURE);
      let left = uniform(seed, count);
      let token = 0;
      while (token < drawn.length - 1 && left >= drawn[token]) left -= drawn[token++];
      const order = Array.from(own.keys()).sort((one, other) => own[other] - own[one]);
      yield { token, entropy: entropy(own), likely: order.slice(0, shown).map((each) => [each, own[each]]) };
      told.push(token);
      if (reading.length === model.block_size) {
        reading = new Reading(model, bias);
        told = told.slice(-model.block_size / 2);
        [logits] = reading.read(told).slice(-1);
      } else [logits] = reading.read([token]);
    }
  }

  /** Mean entropy and loss, nats a token, on real text: pairs [tokens, the tokens that come after them]. One turn a text. */
  function* measured(model, bias, texts) {
    const sums = { entropy: 0, loss: 0 };
    let count = 0;
    for (const [tokens, targets] of texts) {
      new Reading(model, bias).read(tokens).forEach((logits, at) => {
        const p = odds(logits);
        sums.entropy += entropy(p);
        sums.loss -= Math.log(p[targets[at]]);
      });
      count += tokens.length;
      yield { entropy: sums.entropy / count, loss: sums.loss / count };
    }
  }

  return { load, biasOf, Reading, odds, entropy, uniform, written, measured };
})();
