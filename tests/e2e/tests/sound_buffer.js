// Run by wsjpegsink_browser.rs on the sink's page: SoundBuffer in simulated time. Gives what was
// measured in each case.
(() => {
  const CHUNK_S = 0.02;
  const QUANTUM = 128;

  // A buffer that is fed from a sine by a clock that runs `drift` too fast, and read by another.
  class Trial {
    constructor({ contextRate = 48000, rate = 44100, channels = 1, drift = 0 } = {}) {
      Object.assign(this, { contextRate, rate, channels, drift });
      this.buffer = new SoundBuffer(contextRate);
      this.sourceS = 0;
      this.now = 0;
      this.sample = 0;
      this.output = [];
    }

    feed() {
      const frames = Math.round(this.rate * CHUNK_S);
      const samples = new Int16Array(frames * this.channels);
      for (let frame = 0; frame < frames; frame += 1) {
        const value = 16384 * Math.sin((2 * Math.PI * 1000 * this.sample) / this.rate);
        for (let channel = 0; channel < this.channels; channel += 1) {
          samples[frame * this.channels + channel] = value;
        }
        this.sample += 1;
      }
      this.buffer.push(samples, this.rate, this.channels);
      this.sourceS += CHUNK_S;
    }

    run(seconds, { feeding = true } = {}) {
      const end = this.now + seconds;
      while (this.now < end) {
        while (feeding && this.sourceS <= this.now * (1 + this.drift)) this.feed();
        const out = [new Float32Array(QUANTUM), new Float32Array(QUANTUM)];
        this.buffer.render(out);
        this.output.push(out[0]);
        this.now += QUANTUM / this.contextRate;
      }
      if (!feeding) this.sourceS = this.now;
      return this.buffer.stats();
    }

    // How far each sample is from what a sine would go on with; a click is a hundred times more.
    roughness(fromS) {
      const all = this.output.flatMap((part) => [...part]).slice(Math.round(fromS * this.contextRate));
      const turn = 2 * Math.cos((2 * Math.PI * 1000) / this.contextRate);
      let worst = 0;
      for (let at = 1; at + 1 < all.length; at += 1) {
        worst = Math.max(worst, Math.abs(all[at + 1] - turn * all[at] + all[at - 1]));
      }
      return { worst, loudest: all.reduce((most, value) => Math.max(most, Math.abs(value)), 0) };
    }
  }

  const resampled = {};
  for (const [rate, contextRate, channels] of [[44100, 44100, 1], [44100, 48000, 2], [48000, 44100, 1]]) {
    const trial = new Trial({ rate, contextRate, channels });
    const stats = trial.run(5);
    resampled[`${rate} to ${contextRate}`] = { ...stats, ...trial.roughness(1) };
  }

  const drifting = {};
  for (const drift of [-0.0005, 0.0005]) {
    drifting[drift] = new Trial({ drift }).run(120);
  }

  const burst = new Trial();
  burst.run(2);
  for (let chunk = 0; chunk < 10; chunk += 1) burst.feed();
  burst.sourceS = burst.now;
  const burstAt = burst.run(0.1).bufferedMs;
  const burstAfter = burst.run(60);

  const flood = new Trial();
  flood.run(2);
  for (let chunk = 0; chunk < 100; chunk += 1) flood.feed();
  flood.sourceS = flood.now;

  const broken = new Trial();
  broken.run(2);
  const silent = broken.run(1, { feeding: false });
  const again = broken.run(2);

  const paused = new Trial();
  paused.run(2);
  paused.buffer.rest();
  const rested = paused.run(1, { feeding: false });
  const resumed = paused.run(2);

  return { resampled, drifting, burstAt, burstAfter, flood: flood.run(2), silent, again, rested, resumed };
})()
