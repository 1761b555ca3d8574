// Shows what a viewer socket sends: pictures on a canvas, sound through sound.js. Both protocols
// are described in docs/elements/wsjpegsink.md.
"use strict";

// A picture on a canvas: only ever the newest is decoded.
class Picture {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.drawn = 0;
    // Passed over because a newer one came first.
    this.dropped = 0;
    this.broken = 0;
    this.waiting = null;
    this.drawing = false;
  }

  async show(blob) {
    if (this.waiting) this.dropped += 1;
    this.waiting = blob;
    if (this.drawing) return;
    this.drawing = true;
    while (this.waiting) {
      const next = this.waiting;
      this.waiting = null;
      try {
        this.draw(await createImageBitmap(next));
      } catch (error) {
        this.broken += 1;
        console.info("a picture can't be shown", error);
      }
    }
    this.drawing = false;
  }

  draw(bitmap) {
    const { canvas } = this;
    if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
      canvas.width = bitmap.width;
      canvas.height = bitmap.height;
    }
    this.context.drawImage(bitmap, 0, 0);
    bitmap.close();
    this.drawn += 1;
  }
}

// Sound, off until somebody wants it: browsers allow it only after a click.
class Sound {
  // `script` is the address of sound.js.
  constructor(script) {
    this.script = script;
    this.volume = 1;
    this.context = null;
    this.node = null;
    this.chunks = 0;
    this.latest = {};
  }

  get on() {
    return this.context !== null;
  }

  async turnOn() {
    if (this.context) return;
    const context = new AudioContext();
    this.context = context;
    try {
      // Before anything is waited for: the click that allows it doesn't count for long.
      const resumed = context.resume();
      const gain = context.createGain();
      gain.gain.value = this.volume;
      gain.connect(context.destination);
      this.gain = gain;
      const node = context.audioWorklet ? await this.worklet(context) : this.onPage(context);
      await resumed;
      if (this.context !== context) return;
      this.node = node;
      node.output.connect(gain);
    } catch (error) {
      // Off, and perhaps on again, meanwhile: that this one was stopped is no failure.
      if (this.context !== context) return;
      this.turnOff();
      throw error;
    }
  }

  async worklet(context) {
    await context.audioWorklet.addModule(this.script);
    const output = new AudioWorkletNode(context, "haven-sound", { outputChannelCount: [2] });
    output.port.onmessage = ({ data }) => { this.latest = data; };
    return {
      output,
      worklet: true,
      push: (samples, rate, channels) => {
        output.port.postMessage({ samples, rate, channels }, [samples.buffer]);
      },
      rest: () => output.port.postMessage({ rest: true }),
      close: () => output.port.postMessage({ close: true }),
    };
  }

  // Where there is no AudioWorklet (plain http from another machine).
  onPage(context) {
    const buffer = new SoundBuffer(context.sampleRate);
    const output = context.createScriptProcessor(2048, 0, 2);
    output.onaudioprocess = ({ outputBuffer }) => {
      buffer.render([outputBuffer.getChannelData(0), outputBuffer.getChannelData(1)]);
      this.latest = buffer.stats();
    };
    return {
      output,
      worklet: false,
      push: (samples, rate, channels) => buffer.push(samples, rate, channels),
      rest: () => buffer.rest(),
      close: () => {},
    };
  }

  turnOff() {
    if (this.node) {
      this.node.close();
      this.node.output.disconnect();
    }
    if (this.context) this.context.close();
    this.context = null;
    this.node = null;
    this.latest = {};
  }

  setVolume(volume) {
    this.volume = volume;
    if (this.context && this.gain) this.gain.gain.value = volume;
  }

  // Bytes of S16LE.
  play(bytes, rate, channels) {
    this.chunks += 1;
    if (this.node) this.node.push(new Int16Array(bytes.buffer, 0, bytes.length >> 1), rate, channels);
  }

  // Nothing comes for a while, and that is right.
  rest() {
    if (this.node) this.node.rest();
  }

  stats() {
    return {
      on: this.on,
      worklet: this.node !== null && this.node.worklet,
      chunks: this.chunks,
      underruns: 0,
      skips: 0,
      ...this.latest,
    };
  }
}

// A connection that is made again when it is lost.
class Watch {
  // `address` is a WebSocket's, with its query; `json` says which protocol is spoken there.
  // `onState(state, text)` is told what goes on, in one word and in a phrase.
  constructor({ address, json, picture, sound, onState }) {
    Object.assign(this, { address, json, picture, sound, onState });
    const query = new URL(address).searchParams;
    this.rate = Number(query.get("audio")) || 44100;
    this.channels = Number(query.get("channels")) || 1;
    this.connections = 0;
    this.retryMs = RETRY_MS;
    this.timer = setInterval(() => this.look(), LOOK_MS);
    this.connect();
  }

  connect() {
    clearTimeout(this.retry);
    this.connections += 1;
    const socket = new WebSocket(this.address);
    this.socket = socket;
    this.heardAt = performance.now();
    this.asked = false;
    socket.binaryType = "blob";
    this.onState("connecting", "connecting");
    socket.onmessage = ({ data }) => {
      if (this.socket === socket) this.take(data);
    };
    socket.onclose = ({ code, reason }) => {
      if (this.socket === socket) this.lost(code, reason);
    };
  }

  // Ends for good.
  close() {
    clearInterval(this.timer);
    clearTimeout(this.retry);
    const { socket } = this;
    this.socket = null;
    if (socket) socket.close();
    this.sound.rest();
  }

  take(data) {
    this.heardAt = performance.now();
    this.asked = false;
    if (data instanceof Blob) this.shown(data);
    else if (this.json) this.takeObject(data);
    else if (data.startsWith("audio:")) this.sound.play(bytesOf(data.slice(6)), this.rate, this.channels);
    else if (data.startsWith("status:")) this.takeStatus(JSON.parse(data.slice(7)));
  }

  takeObject(text) {
    if (text === "pong") return;
    const message = JSON.parse(text);
    if (message.type === "video_frame") {
      this.shown(new Blob([bytesOf(message.data)], { type: "image/jpeg" }));
    } else if (message.type === "audio_frame") {
      this.sound.play(bytesOf(message.data), message.sample_rate, message.channels);
    } else if (message.type === "status") {
      this.takeStatus(message);
    }
  }

  shown(blob) {
    // Only now: a server that is full takes connections too, and ends them at once.
    this.retryMs = RETRY_MS;
    this.picture.show(blob);
  }

  takeStatus({ state, reason }) {
    if (state !== "live") this.sound.rest();
    this.onState(state, reason ? `${state} (${reason})` : state);
  }

  lost(code, reason) {
    this.socket = null;
    this.sound.rest();
    const why = reason || (code === 1006 ? "connection lost" : `closed (${code})`);
    if (code === GO_AWAY || code === NO_SESSION) {
      this.onState("gone", why);
      return;
    }
    // First, so that who is told may close.
    this.retry = setTimeout(() => this.connect(), this.retryMs);
    this.retryMs = Math.min(this.retryMs * 2, MOST_RETRY_MS);
    this.onState(code === 1000 ? "ended" : "lost", why);
  }

  // A server that vanished without a word is noticed only by asking.
  look() {
    const { socket } = this;
    const silent = performance.now() - this.heardAt;
    if (!socket || silent < SILENT_MS) return;
    if (silent > 2 * SILENT_MS) {
      socket.onclose = null;
      socket.close();
      this.lost(1006, "the server doesn't answer");
    } else if (!this.asked && socket.readyState === WebSocket.OPEN) {
      this.asked = true;
      socket.send("ping");
    }
  }
}

const RETRY_MS = 500;
const MOST_RETRY_MS = 10_000;
const LOOK_MS = 1_000;
const SILENT_MS = 10_000;
// The application behind the server wants this viewer gone: it doesn't come back by itself.
const GO_AWAY = 1008;
// There is nothing to watch there.
const NO_SESSION = 4404;

function bytesOf(base64) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}
