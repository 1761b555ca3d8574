// The page of a wsjpegsink. What stands behind "?" in its address goes to the server (max_fps,
// audio, channels); `protocol=json` watches by the other protocol.
"use strict";

const $ = (id) => document.getElementById(id);
const query = new URLSearchParams(location.search);
const json = query.get("protocol") === "json";
query.delete("protocol");
const address = new URL(json ? "stream" : "ws", location.href);
address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
address.search = query;

const picture = new Picture($("picture"));
const sound = new Sound("sound.js");
let fps = 0;

const NOTES = {
  waiting: "Waiting for the first picture …",
  reconnecting: "The source is connecting again …",
  ended: "The stream has ended.",
  lost: "No connection. Trying again …",
  gone: "Disconnected by the server.",
};

const watch = new Watch({
  address: address.href,
  json,
  picture,
  sound,
  onState(state, text) {
    document.body.dataset.state = state;
    $("state").textContent = text;
    $("note").textContent = NOTES[state] ?? "";
    $("again").hidden = state !== "gone";
  },
});

$("again").onclick = () => watch.connect();
$("full").onclick = () => {
  if (document.fullscreenElement) document.exitFullscreen();
  else $("stage").requestFullscreen();
};
$("full").hidden = !document.fullscreenEnabled;

if (query.get("audio") === "off") {
  $("sound").disabled = true;
  $("sound").textContent = "Sound is off";
}

function showSound() {
  $("sound").textContent = sound.on ? "Turn sound off" : "Turn sound on";
  $("sound").setAttribute("aria-pressed", sound.on);
  $("volume").hidden = !sound.on;
}

$("sound").onclick = async () => {
  try {
    if (sound.on) sound.turnOff();
    else await sound.turnOn();
  } catch (error) {
    $("note").textContent = `The sound can't be turned on: ${error.message}`;
  }
  showSound();
};
$("volume").oninput = () => sound.setVolume(Number($("volume").value));

let drawnBefore = 0;
let countedAt = performance.now();
setInterval(() => {
  const now = performance.now();
  fps = ((picture.drawn - drawnBefore) * 1000) / (now - countedAt);
  drawnBefore = picture.drawn;
  countedAt = now;
  const heard = sound.stats();
  $("fps").textContent = fps.toFixed(0);
  $("size").textContent = picture.drawn ? `${picture.canvas.width} × ${picture.canvas.height}` : "–";
  $("dropped").textContent = picture.dropped;
  $("underruns").textContent = heard.on ? heard.underruns : "–";
  $("buffer").textContent = heard.playing ? `${heard.bufferedMs} ms` : "–";
}, 1000);

// For those who watch the page from outside.
window.haven = {
  stats: () => ({
    state: document.body.dataset.state,
    protocol: json ? "json" : "binary",
    connections: watch.connections,
    width: picture.canvas.width,
    height: picture.canvas.height,
    drawn: picture.drawn,
    dropped: picture.dropped,
    broken: picture.broken,
    fps,
    sound: sound.stats(),
  }),
};
