// Starts a session and shows it, with player.js and sound.js.
"use strict";

const $ = (id) => document.getElementById(id);
const MINT = /^[1-9A-HJ-NP-Za-km-z]{32,44}$/;

const picture = new Picture($("picture"));
const sound = new Sound("sound.js");
let current = null;
// The session that is shown: known once its start has succeeded.
let key = "";
let recording = false;
// What the socket told last, and how often in a row it was lost since it told anything.
let told = "";
let losses = 0;

// A recording ends by itself, on a full disk for one: its button follows within this.
const LOOK_AFTER_RECORDING_MS = 2_000;
// A browser doesn't say why a socket is refused: after so many losses the API is asked.
const LOSSES_BEFORE_ASKING = 3;

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
  if (!response.ok) throw Object.assign(new Error(answer.error), { status: response.status });
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
  button.disabled = button.id !== "watch" && !current;
}

function isMint(text) {
  return text === "demo" || MINT.test(text);
}

// What the socket tells, in words.
function tell(state, text) {
  if (state === "connecting") return;
  // What ended meanwhile is known only now.
  if (state === "live" && told !== "live") lookAfterRecording();
  told = state;
  losses = state === "lost" ? losses + 1 : 0;
  if (losses === LOSSES_BEFORE_ASKING) askWhy();
  switch (state) {
    case "waiting": say(`${key}: waiting for somebody to publish`); return;
    case "reconnecting": say(`${key}: reconnecting …`); return;
    case "lost": say(`${key}: ${text}, connecting again …`, true); return;
    case "ended": case "gone":
      // The status that came before says more than the regular close behind it does.
      if (text !== "session ended") say(`${key}: ${text}`, state === "gone");
      unwatch();
      return;
    default: say(`${key}: ${text}`);
  }
}

// Whether the recording runs, whoever started or ended it.
async function lookAfterRecording() {
  const [asked, before] = [current, recording];
  // While the button is at work, it knows better.
  const isStale = () => current !== asked || recording !== before || $("record").disabled;
  try {
    const status = await call(`api/recording/status/${encodeURIComponent(key)}`);
    if (!isStale()) setRecording(status.is_recording);
  } catch (error) {
    // The next look tells.
    console.info("the recording's state can't be asked", error);
  }
}

// A server that answers and doesn't let us in won't do so later; one that doesn't answer is waited for.
async function askWhy() {
  const asked = current;
  try {
    await call("api/live-sessions/active");
  } catch (error) {
    if (asked === null || current !== asked) return;
    if (error.status >= 400 && error.status < 500) {
      unwatch();
      say(error.message, true);
    }
  }
}

// A WebSocket takes no header: where the server needs a token, the page gets a cookie with it.
let shown = "";

async function showToken() {
  const token = $("token").value;
  if (!token || token === shown) return;
  const headers = { Authorization: `Bearer ${token}` };
  const response = await fetch("api/ui-session", { method: "POST", headers });
  if (response.ok) shown = token;
}

function watch() {
  unwatch();
  told = "";
  losses = 0;
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  const url = new URL(`${scheme}//${location.host}/api/live-sessions/ws/live/${encodeURIComponent(key)}`);
  const mine = new Watch({
    address: url.href,
    json: false,
    picture,
    sound,
    onState: (state, text) => {
      if (current === null || current === mine) tell(state, text);
    },
  });
  current = mine;
  setRunning(true);
}

function unwatch() {
  if (current) current.close();
  current = null;
  setRunning(false);
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
    await showToken();
    watch();
    // Somebody else may have started the session, and a recording of it.
    await lookAfterRecording();
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

$("sound").addEventListener("click", () => doing($("sound"), async () => {
  if (sound.on) sound.turnOff();
  else await sound.turnOn();
  $("sound").textContent = sound.on ? "Turn sound off" : "Turn sound on";
}));

setInterval(() => {
  if (recording) lookAfterRecording();
}, LOOK_AFTER_RECORDING_MS);

// For those who watch the page from outside: how many pictures were drawn.
Object.defineProperty(window, "framesDrawn", { get: () => picture.drawn });
