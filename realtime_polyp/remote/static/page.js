// Asks for one picture after another, so that a slow network gets fewer of them, and none that is old.
"use strict";

const STALE_MS = 3000; // without an answer for so long, nothing on the page may be believed
const RETRY_MS = 500, STATUS_MS = 1000, ANSWER_MS = 5000, CHECK_MS = 250;
const streams = new Map();
let lastAnswer = Date.now();

const wait = (ms) => new Promise((done) => setTimeout(done, ms));

async function ask(path) {
  const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(ANSWER_MS) });
  if (answer.status === 401) { location.reload(); throw new Error("token"); }
  return answer;
}

function clock(seconds) {
  const whole = Math.max(0, seconds), minutes = Math.floor(whole / 60);
  return `${minutes}:${(whole % 60).toFixed(1).padStart(4, "0")}`;
}

function place(name) {
  if (streams.has(name)) return streams.get(name);
  const section = document.getElementById("stream").content.cloneNode(true).firstElementChild;
  document.getElementById("streams").append(section);
  const stream = { name, section, number: -1, pictureAt: Date.now(), url: null };
  streams.set(name, stream);
  follow(stream);
  return stream;
}

async function follow(stream) {
  const image = stream.section.querySelector("img");
  for (;;) {
    try {
      const answer = await ask(`/picture.jpg?stream=${encodeURIComponent(stream.name)}&after=${stream.number}`);
      stream.pictureAt = lastAnswer = Date.now();
      if (answer.status !== 200) { if (answer.status !== 204) await wait(RETRY_MS); continue; }
      stream.number = Number(answer.headers.get("X-Picture"));
      const url = URL.createObjectURL(await answer.blob());
      image.src = url;
      await image.decode();
      if (stream.url) URL.revokeObjectURL(stream.url);
      stream.url = url;
      document.body.dataset.pictures = Number(document.body.dataset.pictures) + 1;
    } catch (error) {
      stream.number = -1; // after a restart numbers begin anew
      await wait(RETRY_MS);
    }
    cover(stream);
  }
}

function cover(stream) {
  const stale = Date.now() - stream.pictureAt > STALE_MS;
  stream.section.querySelector(".screen").classList.toggle("covered", stale);
  stream.section.querySelector(".cover").textContent = stale ? "No connection" : "";
}

function milliseconds(delay) {
  return delay.p50 === null ? "–" : `${delay.p50.toFixed(0)} ms (p99 ${delay.p99.toFixed(0)} ms)`;
}

function show(status) {
  const { section } = place(status.stream);
  const state = section.querySelector(".state");
  state.textContent = status.state[0].toUpperCase() + status.state.slice(1);
  state.className = `state ${status.tone}`;
  const every = status.analysed_every > 1 ? `\none picture in ${status.analysed_every} is analysed` : "";
  section.querySelector(".numbers").textContent =
    `polyps found ${status.polyps}\npicture ${milliseconds(status.video_delay_ms)}\n` +
    `overlay ${milliseconds(status.annotation_delay_ms)}\ndropped ${status.frames_dropped} of ${status.frames_captured}${every}`;
  const rows = status.shown.slice(0, 12).map((polyp) => {
    const row = document.createElement("tr");
    row.className = polyp.visible ? "visible" : "";
    for (const text of [polyp.number, `${clock(polyp.first_s)} to ${clock(polyp.last_s)}`, `${Math.round(polyp.score * 100)} %`]) {
      row.insertCell().textContent = text;
    }
    return row;
  });
  section.querySelector("tbody").replaceChildren(...rows);
}

async function watch() {
  for (;;) {
    try {
      const content = await (await ask("/status")).json();
      lastAnswer = Date.now();
      content.streams.forEach(show);
      document.body.dataset.state = content.streams.map((one) => one.state).join(", ");
    } catch (error) {
      // `check` sees that no answer comes
    }
    await wait(STATUS_MS);
  }
}

// On a clock of its own: where a network is cut, a request hangs for ANSWER_MS, and nothing that waits for it would see it.
function check() {
  streams.forEach(cover);
  if (Date.now() - lastAnswer > STALE_MS) lose();
}

function lose() {
  document.body.dataset.state = "no connection";
  for (const { section } of streams.values()) {
    const state = section.querySelector(".state");
    state.textContent = "No connection";
    state.className = "state bad";
  }
}

setInterval(check, CHECK_MS);
watch();
