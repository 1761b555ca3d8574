// Sound that comes in pieces, given out without a break: a ring buffer and one resampler for the
// whole stream. Runs in an AudioWorklet, and on the page where there is none (they exist only in
// secure contexts: https, localhost).
"use strict";

// Seconds of sound that wait before it begins: the network and a busy page may be late by so much.
const START_S = 0.15;
// After each break as much more, up to this.
const MORE_S = 0.075;
const MOST_S = 0.6;
// So far above what shall wait, sound is skipped: after a burst it would stay late for good.
const BURST_S = 0.3;
// No two clocks agree. The speed follows what waits, by one percent at most: a sixth of a semitone,
// which also makes up for a burst within half a minute.
const MAX_CORRECTION = 0.01;
// Correction for each second too much or too little, and over how many seconds that is averaged.
const CORRECTION = 0.05;
const AVERAGE_S = 2;
const HALF_TAPS = 16;
const PHASES = 256;

class SoundBuffer {
  constructor(outputRate) {
    this.outputRate = outputRate;
    this.targetS = START_S;
    this.underruns = 0;
    this.skips = 0;
    this.format(44100, 1);
  }

  // What comes from now on; what waits is dropped.
  format(rate, channels) {
    this.rate = rate;
    this.channels = channels;
    this.capacity = Math.ceil(rate * (MOST_S + 2 * BURST_S));
    this.ring = [0, 1].map(() => new Float32Array(this.capacity));
    this.kernel = kernel(Math.min(1, this.outputRate / rate));
    this.clear();
  }

  clear() {
    // Absolute numbers of samples; the ring is indexed by their rest.
    this.written = 0;
    this.position = 0;
    this.playing = false;
    this.resting = false;
    this.averageS = this.targetS;
  }

  // The source pauses: that it runs dry is no break.
  rest() {
    this.resting = true;
  }

  get waitingS() {
    return (this.written - this.position) / this.rate;
  }

  // Interleaved samples of 16 bits.
  push(samples, rate, channels) {
    if (rate !== this.rate || channels !== this.channels) this.format(rate, channels);
    this.resting = false;
    const frames = Math.floor(samples.length / channels);
    for (let frame = 0; frame < frames; frame += 1) {
      const at = this.written % this.capacity;
      for (let side = 0; side < 2; side += 1) {
        this.ring[side][at] = samples[frame * channels + (channels === 2 ? side : 0)] / 32768;
      }
      this.written += 1;
    }
    if (this.waitingS > this.targetS + BURST_S) {
      // What comes before the sound has begun is only cut to length.
      if (this.playing) this.skips += 1;
      this.position = this.written - this.targetS * this.rate;
      this.averageS = this.targetS;
    }
  }

  // Fills one or two channels of equal length.
  render(outputs) {
    const length = outputs[0].length;
    for (const output of outputs) output.fill(0);
    if (!this.playing) {
      if (this.resting ? this.waitingS <= 0 : this.waitingS < this.targetS) return;
      this.playing = true;
      this.averageS = this.waitingS;
      this.fadeIn = true;
    }
    const weight = length / this.outputRate / AVERAGE_S;
    this.averageS += (this.waitingS - this.averageS) * Math.min(1, weight);
    const wanted = (this.averageS - this.targetS) * CORRECTION;
    const correction = Math.max(-MAX_CORRECTION, Math.min(MAX_CORRECTION, wanted));
    const step = (this.rate / this.outputRate) * (1 + correction);
    const available = Math.floor((this.written - HALF_TAPS - this.position) / step);
    const frames = Math.max(0, Math.min(length, available));
    for (let frame = 0; frame < frames; frame += 1) {
      this.interpolate(outputs, frame);
      this.position += step;
    }
    this.soften(outputs, frames, length);
  }

  // Without a click at the begin and where it breaks off.
  soften(outputs, frames, length) {
    const breaks = frames < length;
    for (let frame = 0; frame < frames; frame += 1) {
      let gain = this.fadeIn ? frame / frames : 1;
      if (breaks) gain *= 1 - frame / frames;
      for (const output of outputs) output[frame] *= gain;
    }
    if (frames > 0) this.fadeIn = false;
    if (!breaks) return;
    this.playing = false;
    if (this.resting) {
      this.position = this.written;
    } else {
      this.underruns += 1;
      this.targetS = Math.min(MOST_S, this.targetS + MORE_S);
    }
  }

  interpolate(outputs, frame) {
    const base = Math.floor(this.position);
    const phase = (this.position - base) * PHASES;
    const row = Math.floor(phase);
    const weight = phase - row;
    const taps = 2 * HALF_TAPS;
    const first = base - HALF_TAPS + 1;
    for (let side = 0; side < outputs.length; side += 1) {
      const ring = this.ring[side];
      let sum = 0;
      for (let tap = Math.max(0, -first); tap < taps; tap += 1) {
        const low = this.kernel[row * taps + tap];
        const high = this.kernel[(row + 1) * taps + tap];
        sum += ring[(first + tap) % this.capacity] * (low + (high - low) * weight);
      }
      outputs[side][frame] = sum;
    }
  }

  stats() {
    return {
      underruns: this.underruns,
      skips: this.skips,
      playing: this.playing,
      bufferedMs: Math.round(this.waitingS * 1000),
      targetMs: Math.round(this.targetS * 1000),
      rate: this.rate,
      contextRate: this.outputRate,
    };
  }
}

// Rows of a Blackman-windowed sinc, each moved on by a phase, each of gain one. `cutoff` is where
// it ends, of the input's half rate.
function kernel(cutoff) {
  const taps = 2 * HALF_TAPS;
  const table = new Float32Array((PHASES + 1) * taps);
  for (let phase = 0; phase <= PHASES; phase += 1) {
    let gain = 0;
    const row = table.subarray(phase * taps, (phase + 1) * taps);
    for (let tap = 0; tap < taps; tap += 1) {
      const x = tap - (HALF_TAPS - 1) - phase / PHASES;
      const turn = Math.PI * x * cutoff * 0.94;
      const window = Math.PI * Math.max(-1, Math.min(1, x / HALF_TAPS));
      row[tap] = (turn === 0 ? 1 : Math.sin(turn) / turn)
        * (0.42 + 0.5 * Math.cos(window) + 0.08 * Math.cos(2 * window));
      gain += row[tap];
    }
    for (let tap = 0; tap < taps; tap += 1) row[tap] /= gain;
  }
  return table;
}

if (typeof registerProcessor === "function") {
  // Calls of process() between two reports, of 128 samples each: about ten a second.
  const REPORT_EVERY = 32;
  registerProcessor("haven-sound", class extends AudioWorkletProcessor {
    constructor() {
      super();
      this.buffer = new SoundBuffer(sampleRate);
      this.calls = 0;
      this.open = true;
      this.port.onmessage = ({ data }) => {
        if (data.samples) this.buffer.push(data.samples, data.rate, data.channels);
        else if (data.rest) this.buffer.rest();
        else if (data.close) this.open = false;
      };
    }

    process(inputs, [output]) {
      this.buffer.render(output);
      this.calls += 1;
      if (this.calls % REPORT_EVERY === 0) this.port.postMessage(this.buffer.stats());
      return this.open;
    }
  });
}
