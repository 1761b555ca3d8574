// Watches a wsjpegsink: pictures are binary messages, sound is `audio:` and base64, see
// docs/elements/wsjpegsink.md. Sound is 44,100 Hz mono unless the address asks for another.
"use strict";

const RATE = 44100;
const canvas = document.getElementById("picture");
const context = canvas.getContext("2d");
const state = document.getElementById("state");
const button = document.getElementById("sound");

let newest = null; // a picture that waits to be drawn: only ever the newest
let drawing = false;
let frames = 0;
let audio = null;
let playAt = 0;

async function draw() {
  if (drawing) return;
  drawing = true;
  while (newest) {
    const blob = newest;
    newest = null;
    try {
      const picture = await createImageBitmap(blob);
      if (canvas.width !== picture.width || canvas.height !== picture.height) {
        canvas.width = picture.width;
        canvas.height = picture.height;
      }
      context.drawImage(picture, 0, 0);
      picture.close();
      frames += 1;
    } catch (error) {
      console.warn("a picture could not be decoded", error);
    }
  }
  drawing = false;
}

function play(base64) {
  if (!audio) return;
  // A little ahead of now, and never far: what a burst brings too early is dropped.
  const now = audio.currentTime;
  if (playAt > now + 0.5) return;
  if (playAt < now + 0.02) playAt = now + 0.1;
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  const samples = new DataView(bytes.buffer);
  const buffer = audio.createBuffer(1, bytes.length >> 1, RATE);
  const channel = buffer.getChannelData(0);
  for (let n = 0; n < channel.length; n += 1) channel[n] = samples.getInt16(n * 2, true) / 32768;
  const source = audio.createBufferSource();
  source.buffer = buffer;
  source.connect(audio.destination);
  source.start(playAt);
  playAt += buffer.duration;
}

function watch(retryMs) {
  const address = new URL("ws" + location.search, location.href);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  const socket = new WebSocket(address);
  socket.binaryType = "blob";
  socket.onopen = () => { retryMs = 500; state.textContent = "connected"; };
  socket.onmessage = ({ data }) => {
    if (data instanceof Blob) {
      newest = data;
      draw();
    } else if (data.startsWith("audio:")) {
      play(data.slice(6));
    } else if (data.startsWith("status:")) {
      state.dataset.state = JSON.parse(data.slice(7)).state;
      state.textContent = state.dataset.state;
    }
  };
  socket.onclose = ({ code, reason }) => {
    delete state.dataset.state;
    state.textContent = `closed (${code}${reason ? " " + reason : ""}), trying again`;
    setTimeout(watch, retryMs, Math.min(retryMs * 2, 10000));
  };
}

button.onclick = () => {
  if (audio) {
    audio.close();
    audio = null;
  } else {
    audio = new AudioContext();
    playAt = 0;
  }
  button.textContent = audio ? "Turn sound off" : "Turn sound on";
};

setInterval(() => {
  if (state.dataset.state === "live") state.textContent = `live, ${frames} frames/s`;
  frames = 0;
}, 1000);
watch(500);
