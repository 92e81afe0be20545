// Live pictures: one WebSocket per camera, a credit for each picture drawn; nothing is asked for out of sight.
import { $, api, clock, day, el, pill, span } from "./dom.js";
import { LiveFilm } from "./mse.js";
import { whys } from "./why.js";
import { draw, JPEG, liveFrame, sha256 } from "./wire.js";

const CREDITS = 2, MANY = 32, LATE_MS = 120, AGAIN_MS = 20000, OLD_MS = 3000;
const hooks = { lastFrame: null, frames: {}, films: {}, onFrame: null, sha256 };
window.cameraAgent = hooks; // for tests and for whoever wants the bytes as they arrived

const views = new Map();

/** How much later than the quickest of late a picture is on the screen: what the line and this machine make it wait. */
class Delay {
  constructor() { this.least = this.next = Infinity; this.since = 0; this.ms = Infinity; }

  drawn(wallNs) {
    const now = performance.now(), took = performance.timeOrigin + now - wallNs / 1e6; // with the clocks' difference
    if (now - this.since > AGAIN_MS) { this.least = this.next; this.next = Infinity; this.since = now; }
    this.next = Math.min(this.next, took);
    this.least = Math.min(this.least, took);
    this.ms = took - this.least;
  }

  get late() { return this.ms >= LATE_MS; }
}

const seen = new IntersectionObserver((entries) => {
  for (const e of entries) views.get(e.target.dataset.camera)?.show(e.isIntersecting);
});

class LiveView {
  constructor(camera) {
    this.camera = camera;
    this.arrived = null; // when the picture on the screen came, as performance.now() has it; null: there is none
    this.begun = false;
    this.times = [];
    this.given = 0;
    this.newest = null; // the picture that is to be drawn next
    this.drawing = false;
    this.delay = new Delay();
    this.onScreen = true;
    this.moving = false;
    this.retryMs = 500;
    this.canvas = el("canvas", { role: "img", "aria-label": `Live picture of ${camera.name}` });
    this.video = el("video", { muted: true, playsinline: true, hidden: true, "aria-label": `Live film of ${camera.name}` });
    this.video.muted = true; // the attribute alone does not let a film start by itself
    this.film = null;
    this.text = el("p", {}, "waiting for the first picture…");
    this.state = el("span", { class: "pill" }, "…");
    this.motion = el("span", { class: "pill move", hidden: true }, "motion");
    this.screen = el("div", { class: "screen" }, this.canvas, this.video, this.text);
    const full = el("button", { type: "button", class: "quiet full", "aria-label": `${camera.name} in full screen`,
      onclick: () => this.toggleFull() }, "Full screen");
    const why = el("button", { type: "button", class: "quiet full", title: "What made an event, what did not, and why",
      onclick: () => whys.open(camera.name, camera.mine) }, "Why?");
    const remove = el("button", { type: "button", class: "quiet full", onclick: () => this.remove() }, "Delete");
    this.node = el("figure", { class: "camera", "data-camera": camera.name }, this.screen,
      el("figcaption", { class: "row" },
        el("span", { class: "row about" }, el("span", { class: "name" }, camera.name), this.state, this.motion),
        el("span", { class: "row" }, why, full, ...(camera.mine ? [remove] : []))));
    seen.observe(this.node);
    this.connect();
  }

  connect() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    this.socket = new WebSocket(`${scheme}://${location.host}/api/v1/cameras/${this.camera.name}/live`);
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => { this.given = 0; this.begun = false; this.retryMs = 500; this.ask(); };
    this.socket.onmessage = (m) => this.take(m.data);
    this.socket.onclose = (e) => this.lost(e.code);
  }

  lost(code) {
    if (this.gone || code === 4410) return;
    if (code === 4401) api("/about").catch(() => {}); // the camera has new keys, or this goes to the login
    setTimeout(() => this.gone || this.connect(), this.retryMs * (0.5 + Math.random()));
    this.retryMs = Math.min(this.retryMs * 2, 8000);
  }

  get wanted() { return document.visibilityState === "visible" && this.onScreen && !this.gone; }

  ask() {
    if (!this.wanted) {
      this.film?.stop();
      return this.give(0);
    }
    if (this.film) return;
    // Many at a time cost the server fewer messages; when pictures come late, they are taken back.
    const most = this.delay.late ? CREDITS : MANY;
    if (this.given > most) this.give(0);
    if (this.given <= most / 2) this.give(most - this.given);
  }

  /** So many credits more; 0 takes back those that are given. */
  give(n) {
    if (this.socket.readyState === WebSocket.OPEN && (n > 0 || (n === 0 && this.given))) {
      this.socket.send(JSON.stringify({ t: "live", n }));
      this.given = n ? this.given + n : 0;
    }
  }

  async take(buffer) {
    const arrivedMs = performance.timeOrigin + performance.now();
    const frame = liveFrame(buffer);
    this.given = Math.max(0, this.given - 1);
    if (!frame) return this.ask();
    this.note(frame, arrivedMs);
    if (frame.codec !== JPEG) return this.film || this.play();
    this.newest = frame;
    if (!this.drawing) await this.draw();
  }

  /** Draw the newest picture, and then what came meanwhile: of that, too, the newest only. */
  async draw() {
    this.drawing = true;
    try {
      while (this.newest) {
        const frame = this.newest;
        this.newest = null;
        await this.paint(frame.bytes);
        this.delay.drawn(frame.wallNs);
        this.ask();
      }
    } finally {
      this.drawing = false;
    }
  }

  /** The camera sends no JPEGs: show its film, until that ends or nobody looks; then see again what it sends. */
  async play() {
    this.film = new LiveFilm(`/api/v1/cameras/${this.camera.name}/live.mp4`, this.video);
    this.socket.send(JSON.stringify({ t: "live", n: 0 }));
    let pauseMs = 500;
    try {
      await this.film.run((about) => this.shown(about));
    } catch (e) {
      if (e.name !== "AbortError") {
        this.say(e.message);
        pauseMs = 10000;
      }
    }
    await new Promise((done) => setTimeout(done, this.wanted ? pauseMs : 0));
    this.film = null;
    this.given = 0;
    if (this.socket.readyState === WebSocket.OPEN) this.ask();
  }

  shown({ mediaTime, presentedFrames, width, height }) {
    this.canvas.hidden = true;
    this.video.hidden = false;
    this.say("");
    this.screen.style.aspectRatio = `${width} / ${height}`;
    this.fresh();
    hooks.films[this.camera.name] = { mediaTime, presentedFrames, width, height };
  }

  note({ index, wallNs, bytes }, arrivedMs) {
    // A connection begins with what the server has, which may be of yesterday.
    const ageMs = this.begun ? 0 : arrivedMs - wallNs / 1e6;
    this.begun = true;
    this.fresh(ageMs < OLD_MS ? 0 : ageMs);
    const last = { camera: this.camera.name, index, wallNs, arrivedMs };
    Object.defineProperty(last, "bytes", { value: bytes }); // not copied with the object by drivers
    hooks.lastFrame = hooks.frames[this.camera.name] = last;
    hooks.onFrame?.(last);
  }

  async paint(bytes) {
    this.canvas.hidden = false;
    this.video.hidden = true;
    const drawn = await draw(this.canvas, bytes);
    this.say(drawn ? "" : "The camera sent a damaged picture.");
    if (drawn) this.screen.style.aspectRatio = `${this.canvas.width} / ${this.canvas.height}`;
  }

  say(text) {
    this.text.hidden = !text;
    if (text) this.text.textContent = text;
  }

  show(onScreen) {
    this.onScreen = onScreen;
    this.ask();
  }

  tick() {
    this.node.classList.toggle("moving", this.moving);
    this.motion.hidden = !this.moving;
    const some = this.arrived !== null, age = some ? (performance.now() - this.arrived) / 1000 : Infinity;
    if (this.socket.readyState !== WebSocket.OPEN) return this.wait("no connection", "bad", "No connection to the server.");
    if (age < 3) return pill(this.state, `live${this.rate()}`, "good");
    const { state, since_ms } = this.camera;
    if (state === "waiting") this.wait("waiting for camera", "warn", "Waiting for the camera: nothing has come from it yet.");
    else if (state === "away") this.wait(`away since ${clock(since_ms)}`, "warn", `The camera is away since ${clock(since_ms)}.`);
    else if (state === "ended") this.wait("ended", "", "This camera's time is over.");
    else if (!some) this.wait("waiting for camera", "warn", "Waiting for the first picture…");
    else pill(this.state, `picture is ${span(age)} old`, age < 10 ? "warn" : "bad");
  }

  /** Nothing comes: what is on the screen must not pass for what is there now. */
  wait(short, kind, long) {
    pill(this.state, short, kind);
    const some = this.arrived !== null, cameMs = performance.timeOrigin + this.arrived;
    this.node.classList.toggle("old", some);
    this.say(some ? `${long} This picture came at ${clock(cameMs)}, ${day(cameMs).toLowerCase()}.` : long);
  }

  /** A picture came, now or so long ago. */
  fresh(ageMs = 0) {
    this.arrived = performance.now() - ageMs;
    this.times = ageMs ? [] : [...this.times.slice(-20), this.arrived];
    this.node.classList.remove("old");
  }

  rate() {
    const n = this.times.length;
    return n < 3 ? "" : ` · ${Math.round((n - 1) * 1000 / (this.times[n - 1] - this.times[0]))} fps`;
  }

  toggleFull() {
    if (document.fullscreenElement) document.exitFullscreen();
    else this.node.requestFullscreen?.();
  }

  async remove() {
    const name = this.camera.name;
    if (!confirm(`Delete the camera “${name}” with everything it recorded? This cannot be undone.`)) return;
    await api(`/cameras/${name}`, { method: "DELETE" }).catch((e) => alert(`${name} is not deleted: ${e.message}`));
  }

  end() {
    this.gone = true;
    this.film?.stop();
    seen.unobserve(this.node);
    this.socket.close();
    this.node.remove();
  }
}

/** Show these cameras, keeping the pictures of those that were there. */
export function showCameras(cameras) {
  for (const [name, view] of views) {
    if (!cameras.some((c) => c.name === name)) { view.end(); views.delete(name); }
  }
  for (const camera of cameras) {
    if (views.has(camera.name)) { views.get(camera.name).camera = camera; continue; }
    const view = new LiveView(camera);
    views.set(camera.name, view);
    $("cameras").append(view.node);
  }
  for (const node of [$("cameras"), $("page")]) node.classList.toggle("one", cameras.length === 1);
  $("no-cameras").hidden = cameras.length > 0;
}

/** Mark the cameras where something moves now. */
export function showMotion(names) {
  for (const [name, view] of views) view.moving = names.has(name);
}

export function tickCameras() {
  for (const view of views.values()) view.tick();
}

document.addEventListener("visibilitychange", () => { for (const view of views.values()) view.ask(); });
