// Starts a session and shows it: JPEG frames on a canvas, PCM through Web Audio.
"use strict";

const $ = (id) => document.getElementById(id);
const AUDIO_RATE = 44100;
const MINT = /^[1-9A-HJ-NP-Za-km-z]{32,44}$/;
// Sound is scheduled this far ahead, in seconds: enough for a busy main thread.
const AUDIO_LEAD = 0.12;

let socket = null;
let key = "";
let recording = false;
let frames = 0;
let drawing = null;
let audio = null;
let audioTime = 0;

function say(text, isError = false) {
  $("status").textContent = text;
  $("status").classList.toggle("error", isError);
}

async function call(path, body) {
  const headers = { "Content-Type": "application/json" };
  if ($("token").value) headers.Authorization = `Bearer ${$("token").value}`;
  const response = await fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
  if (response.status === 401) $("token-label").hidden = false;
  const answer = await response.json();
  if (!answer.success) throw new Error(answer.error);
  return answer;
}

function isMint(text) {
  return text === "demo" || MINT.test(text);
}

async function draw(blob) {
  // Only the newest frame is worth decoding.
  if (drawing) { drawing.next = blob; return; }
  drawing = { next: blob };
  const canvas = $("picture");
  while (drawing.next) {
    const frame = drawing.next;
    drawing.next = null;
    try {
      const bitmap = await createImageBitmap(frame);
      if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
        canvas.width = bitmap.width;
        canvas.height = bitmap.height;
      }
      canvas.getContext("2d").drawImage(bitmap, 0, 0);
      bitmap.close();
      frames += 1;
    } catch (error) {
      console.warn("a frame can't be shown", error);
    }
  }
  drawing = null;
}

function play(base64) {
  if (!audio) return;
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  const samples = new Int16Array(bytes.buffer, 0, bytes.length >> 1);
  const buffer = audio.createBuffer(1, samples.length, AUDIO_RATE);
  buffer.getChannelData(0).set(Float32Array.from(samples, (sample) => sample / 32768));
  const source = audio.createBufferSource();
  source.buffer = buffer;
  source.connect(audio.destination);
  const now = audio.currentTime;
  if (audioTime < now || audioTime > now + 1) audioTime = now + AUDIO_LEAD;
  source.start(audioTime);
  audioTime += buffer.duration;
}

function onText(text) {
  if (text.startsWith("audio:")) play(text.slice(6));
  else if (text.startsWith("status:")) say(`${key}: ${JSON.parse(text.slice(7)).state}`);
}

function watch() {
  if (socket) socket.close();
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  const url = new URL(`${scheme}//${location.host}/api/live-sessions/ws/live/${encodeURIComponent(key)}`);
  if ($("token").value) url.searchParams.set("token", $("token").value);
  const current = new WebSocket(url);
  socket = current;
  current.binaryType = "blob";
  current.onmessage = ({ data }) => (typeof data === "string" ? onText(data) : draw(data));
  current.onclose = ({ code, reason }) => {
    if (socket !== current) return;
    socket = null;
    setRunning(false);
    say(`${key}: ${reason || `connection closed (${code})`}`, code !== 1000 && code !== 1005);
  };
}

function setRunning(running) {
  $("stop").disabled = !running;
  $("record").disabled = !running;
  if (!running) setRecording(false);
}

function setRecording(running) {
  recording = running;
  $("record").textContent = running ? "Stop recording" : "Record";
}

$("start").addEventListener("submit", async (event) => {
  event.preventDefault();
  key = $("key").value.trim();
  say(`${key}: starting …`);
  try {
    const answer = await call("api/live-sessions/start", isMint(key) ? { mint_id: key } : { room_name: key });
    say(`${answer.room_name}: ${answer.participant_sid ? "live" : "waiting for somebody to publish"}`);
    setRunning(true);
    watch();
  } catch (error) {
    say(error.message, true);
  }
});

$("stop").addEventListener("click", async () => {
  try {
    await call("api/live-sessions/stop", { mint_id: key });
  } catch (error) {
    say(error.message, true);
  }
});

$("record").addEventListener("click", async () => {
  try {
    if (recording) {
      const answer = await call("api/recording/stop", { mint_id: key });
      setRecording(false);
      say(`${answer.duration_s.toFixed(1)} s in ${answer.output_path}`);
    } else {
      const answer = await call("api/recording/start", { mint_id: key, output_format: "h264" });
      setRecording(true);
      say(`recording to ${answer.output_path}`);
    }
  } catch (error) {
    say(error.message, true);
  }
});

$("sound").addEventListener("click", async () => {
  if (audio) {
    await audio.close();
    audio = null;
  } else {
    // Browsers allow sound only after a click.
    audio = new AudioContext();
    audioTime = 0;
  }
  $("sound").textContent = audio ? "Sound off" : "Sound on";
  $("sound").setAttribute("aria-pressed", String(Boolean(audio)));
});

// For those who watch the page from outside: how many frames were drawn.
Object.defineProperty(window, "framesDrawn", { get: () => frames });
