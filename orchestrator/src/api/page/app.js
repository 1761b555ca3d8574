// Starts a session and shows it: JPEG frames on a canvas, PCM through Web Audio.
"use strict";

const $ = (id) => document.getElementById(id);
const AUDIO_RATE = 44100;
const MINT = /^[1-9A-HJ-NP-Za-km-z]{32,44}$/;
// Sound is scheduled this far ahead, in seconds: enough for a busy main thread.
const AUDIO_LEAD = 0.12;
// What would be heard later than this, in seconds, is dropped, so that a burst doesn't put the
// sound behind the picture for good.
const AUDIO_LATEST = 0.5;

let socket = null;
// The session that is shown: known once its start has succeeded.
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
  const headers = {};
  if (body) headers["Content-Type"] = "application/json";
  if ($("token").value) headers.Authorization = `Bearer ${$("token").value}`;
  const method = body ? "POST" : "GET";
  const response = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
  if (response.status === 401) {
    $("token-label").hidden = false;
    $("token").focus();
  }
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

// Runs what a button does; the button rests meanwhile, and a failure is told.
async function doing(button, action) {
  button.disabled = true;
  try {
    await action();
  } catch (error) {
    say(error.message, true);
  }
  button.disabled = button.id !== "watch" && !socket;
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
  const now = audio.currentTime;
  if (audioTime > now + AUDIO_LATEST) return;
  if (audioTime < now) audioTime = now + AUDIO_LEAD;
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  const samples = new DataView(bytes.buffer);
  const buffer = audio.createBuffer(1, bytes.length >> 1, AUDIO_RATE);
  const channel = buffer.getChannelData(0);
  for (let n = 0; n < channel.length; n += 1) channel[n] = samples.getInt16(2 * n, true) / 32768;
  const source = audio.createBufferSource();
  source.buffer = buffer;
  source.connect(audio.destination);
  source.start(audioTime);
  audioTime += buffer.duration;
}

function onText(text) {
  if (text.startsWith("audio:")) play(text.slice(6));
  else if (text.startsWith("status:")) say(`${key}: ${stateInWords(JSON.parse(text.slice(7)))}`);
}

function stateInWords({ state, reason }) {
  switch (state) {
    case "waiting": return "waiting for somebody to publish";
    case "reconnecting": return "reconnecting …";
    case "ended": return reason ? `ended (${reason})` : "ended";
    default: return state;
  }
}

function watch() {
  if (socket) socket.close();
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  const url = new URL(`${scheme}//${location.host}/api/live-sessions/ws/live/${encodeURIComponent(key)}`);
  if ($("token").value) url.searchParams.set("token", $("token").value);
  const current = new WebSocket(url);
  socket = current;
  current.binaryType = "blob";
  current.onmessage = ({ data }) => {
    if (socket !== current) return;
    if (typeof data === "string") onText(data);
    else draw(data);
  };
  current.onclose = ({ code, reason }) => {
    if (socket !== current) return;
    socket = null;
    setRunning(false);
    // The status that came before says more than a regular close does.
    if (code !== 1000) say(`${key}: ${reason || `connection closed (${code})`}`, true);
  };
  setRunning(true);
}

function setRunning(running) {
  for (const id of ["sound", "record", "stop"]) $(id).disabled = !running;
  $("picture").classList.toggle("over", !running);
  if (!running) setRecording(false);
}

function setRecording(running) {
  recording = running;
  $("record").textContent = running ? "Stop recording" : "Record";
  $("record").classList.toggle("recording", running);
}

$("start").addEventListener("submit", (event) => {
  event.preventDefault();
  doing($("watch"), async () => {
    const asked = $("key").value.trim();
    say(`${asked}: starting …`);
    const answer = await call("api/live-sessions/start", isMint(asked) ? { mint_id: asked } : { room_name: asked });
    key = answer.mint_id;
    watch();
    // Somebody else may have started the session, and a recording of it.
    const status = await call(`api/recording/status/${encodeURIComponent(key)}`);
    setRecording(status.is_recording);
  });
});

$("stop").addEventListener("click", () => doing($("stop"), async () => {
  await call("api/live-sessions/stop", { mint_id: key });
}));

$("record").addEventListener("click", () => doing($("record"), async () => {
  if (recording) {
    say("finishing the recording …");
    const answer = await call("api/recording/stop", { mint_id: key });
    setRecording(false);
    say(`${answer.duration_s.toFixed(1)} s in ${answer.output_path}`);
  } else {
    const answer = await call("api/recording/start", { mint_id: key, output_format: "h264" });
    setRecording(true);
    say(`recording to ${answer.output_path}`);
  }
}));

$("sound").addEventListener("click", () => {
  if (audio) {
    audio.close();
    audio = null;
  } else {
    // Browsers allow sound only after a click.
    audio = new AudioContext();
    audioTime = 0;
  }
  $("sound").textContent = audio ? "Turn sound off" : "Turn sound on";
});

// For those who watch the page from outside: how many frames were drawn.
Object.defineProperty(window, "framesDrawn", { get: () => frames });
