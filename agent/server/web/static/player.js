// Plays an event: fetches its clips and draws the camera's pictures at the pace they were taken.
import { course } from "./course.js";
import { $, api, clock, day, pictures, share, size } from "./dom.js";
import { shown } from "./events.js";
import { showMarks } from "./marks.js";
import { film } from "./film.js";
import { clipFrames, draw, JPEG } from "./wire.js";

const KEEP = 24, LONGEST_GAP_MS = 1000;

class Player {
  constructor() {
    this.event = null;
    this.clips = [];
    this.at = { clip: 0, frame: 0 };
    this.playing = false;
    this.run = 0; // raised by every jump: what an older one still waits for is void
  }

  async open(event) {
    this.event = event;
    this.clips = [];
    this.at = { clip: 0, frame: 0 };
    this.run += 1;
    this.say("");
    if (!$("player").open) $("player").showModal();
    $("play").focus();
    this.title();
    film.hide();
    course.forget();
    await this.reload();
    if (this.clips.length) course.open(this.event, [this.start, this.start + this.length]);
    if (film.plays(this.clips)) film.open(this.event, this.clips, (text) => this.say(text));
    else if (this.clips.length) await this.play();
  }

  close() {
    this.run += 1;
    this.playing = false;
    this.event = null;
    this.clips = [];
    film.hide();
    course.forget();
  }

  /** The clips there are now; those that were loaded stay. */
  async reload() {
    const id = this.event.id, run = this.run;
    try {
      const full = await api(`/events/${id}`);
      if (this.event?.id !== id || this.event.state === "deleted") return;
      const known = new Map(this.clips.map((c) => [c.url, c]));
      this.event = full;
      this.clips = full.items.map((c) => known.get(c.url) ?? c).sort((a, b) => a.wall_ms - b.wall_ms || a.seq - b.seq);
      this.title();
      if (!film.plays(this.clips)) this.offer();
      if (!this.clips.length) this.say("Its pictures are not here yet, or not any more.");
      else if (known.size === 0) this.say("");
    } catch (e) {
      if (run === this.run) this.say(e.status === 404 ? "This event was deleted." : `No answer: ${e.message}`);
    }
  }

  /** News of the event that is open: more of it may have come. */
  async news(event) {
    if (event.id !== this.event?.id || !$("player").open) return;
    if (event.state === "deleted") return this.lose(event);
    const atEnd = !this.playing && this.waiting;
    await this.reload();
    if (event.state !== "open" && this.clips.length) course.open(this.event, [this.start, this.start + this.length]);
    if (film.plays(this.clips)) return film.grow(this.event, this.clips);
    if (atEnd && await this.step(1)) await this.play();
  }

  /** Somebody deleted the event that is open. */
  lose(event) {
    this.pause();
    this.event = event;
    this.clips = [];
    film.hide();
    course.forget();
    this.title();
    this.say("This event was deleted.");
  }

  title() {
    const e = this.event;
    $("player-title").textContent = `${e.camera}, ${day(e.start_ms)} ${clock(e.start_ms)}`;
    showMarks(e);
    $("player-state").hidden = e.state !== "open";
    const moved = e.peak ? ` · at most ${share(e.peak)} of the picture moved` : "";
    $("what").textContent = `${pictures(e.frames)} · ${size(e.bytes)}${moved}`;
  }

  /** An event of JPEGs, to be saved as one file. */
  offer() {
    const { id, camera, number } = this.event;
    Object.assign($("save-film"), { href: `/api/v1/events/${id}/event.avi`, download: `${camera}-${number}.avi` });
    $("save-film").textContent = "Save film";
  }

  say(text) {
    $("trouble").hidden = !text;
    $("trouble").textContent = text;
  }

  async load(i) {
    const clip = this.clips[i];
    if (!clip) return null;
    if (!clip.frames) {
      const answer = await fetch(clip.url);
      if (!answer.ok) throw new Error(answer.status === 404 ? "these pictures were deleted" : answer.statusText);
      clip.frames = clipFrames(await answer.arrayBuffer());
      const loaded = this.clips.filter((c) => c.frames && c !== clip);
      if (loaded.length >= KEEP) loaded.sort((a, b) => Math.abs(b.seq - clip.seq) - Math.abs(a.seq - clip.seq))[0].frames = null;
    }
    return clip.frames;
  }

  get start() { return this.clips[0]?.wall_ms ?? 0; }

  get length() {
    const last = this.clips.at(-1);
    const known = last?.frames?.at(-1).wallMs ?? last?.wall_ms ?? 0;
    return Math.max(1, (this.event.state === "open" ? known : Math.max(known, this.event.end_ms)) - this.start);
  }

  async showAt(clip, frame) {
    const run = this.run;
    let frames;
    try {
      frames = await this.load(clip);
    } catch (e) {
      this.say(e.message);
      return false;
    }
    if (run !== this.run || !frames?.[frame]) return false;
    this.at = { clip, frame };
    await this.paint(frames[frame], this.clips[clip], frame);
    if (run === this.run) this.load(clip + 1).catch(() => {});
    return true;
  }

  async paint(frame, clip, n) {
    if (frame.codec !== JPEG) return this.say("This picture is not a JPEG.");
    const whole = await draw($("screen"), frame.bytes);
    if (!this.clips.includes(clip)) return; // closed meanwhile, or deleted, or another is open
    this.say(whole ? "" : "This picture is damaged.");
    const shownNow = { index: frame.index, wallNs: frame.wallNs, preroll: frame.preroll, url: clip.url };
    Object.defineProperty(shownNow, "bytes", { value: frame.bytes });
    window.cameraAgent.shown = shownNow;
    window.cameraAgent.onShown?.(shownNow);
    course.at(frame.wallMs, $("screen").width, $("screen").height);
    const at = frame.wallMs - this.start;
    $("scrub").value = Math.round(1000 * Math.min(1, at / this.length));
    const text = `${(at / 1000).toFixed(1)} / ${(this.length / 1000).toFixed(1)} s`;
    $("clock").value = text;
    $("scrub").setAttribute("aria-valuetext", `${text}, ${clock(frame.wallMs)}`);
    const name = `${this.event.camera}-${new Date(frame.wallMs).toISOString().replace(/[:.]/g, "-")}`;
    Object.assign($("save-picture"), { href: `${clip.url}/frames/${n}.jpg`, download: `${name}.jpg` });
  }

  /** One picture on (1) or back (-1); false at the end. */
  async step(by) {
    let { clip, frame } = this.at;
    const frames = await this.load(clip).catch(() => null);
    frame += by;
    if (frames && frame >= frames.length) { clip += 1; frame = 0; }
    if (frame < 0) {
      clip -= 1;
      const before = await this.load(clip).catch(() => null);
      frame = (before?.length ?? 0) - 1;
    }
    return clip >= 0 && frame >= 0 && clip < this.clips.length && this.showAt(clip, frame);
  }

  async play() {
    const run = ++this.run;
    this.setPlaying(true);
    this.waiting = false;
    const last = this.clips.length - 1;
    const ended = this.at.clip === last && this.at.frame >= (this.clips[last].frames?.length ?? Infinity) - 1;
    if (ended && this.event.state !== "open") this.at = { clip: 0, frame: 0 };
    let there = await this.showAt(this.at.clip, this.at.frame);
    let before = this.wallMs(), due = performance.now();
    while (there && run === this.run) {
      const next = this.nextWallMs();
      due = Math.max(due + Math.min(Math.max(0, next - before), LONGEST_GAP_MS), performance.now() - 250);
      await new Promise((done) => setTimeout(done, due - performance.now()));
      if (run !== this.run) return;
      there = await this.step(1);
      before = this.wallMs();
    }
    if (run !== this.run) return;
    this.waiting = true;
    this.setPlaying(false);
  }

  wallMs() { return this.clips[this.at.clip]?.frames?.[this.at.frame]?.wallMs ?? 0; }

  nextWallMs() {
    const { clip, frame } = this.at;
    return this.clips[clip].frames?.[frame + 1]?.wallMs ?? this.clips[clip + 1]?.wall_ms ?? this.wallMs();
  }

  pause() {
    this.run += 1;
    this.waiting = false;
    this.setPlaying(false);
  }

  setPlaying(on) {
    this.playing = on;
    $("play").textContent = on ? "❚❚" : "▶";
    $("play").setAttribute("aria-label", on ? "Pause" : "Play");
  }

  toggle() {
    if (film.plays(this.clips)) film.toggle();
    else if (this.playing) this.pause();
    else if (this.clips.length) this.play();
  }

  async seek(part) {
    this.pause();
    const target = this.start + part * this.length, run = this.run;
    const clip = Math.max(0, this.clips.findLastIndex((c) => c.wall_ms <= target));
    const frames = await this.load(clip).catch(() => null);
    if (run !== this.run || !frames) return;
    await this.showAt(clip, Math.max(0, frames.findLastIndex((f) => f.wallMs <= target)));
  }

  neighbour(by) {
    const list = shown(), i = list.findIndex((e) => e.id === this.event?.id);
    if (i >= 0 && list[i + by]) this.open(list[i + by]);
  }
}

export const player = new Player();
const move = (by) => {
  if (film.plays(player.clips)) return film.step(by);
  player.pause();
  player.step(by);
};

$("play").addEventListener("click", () => player.toggle());
$("back").addEventListener("click", () => move(-1));
$("on").addEventListener("click", () => move(1));
$("close").addEventListener("click", () => $("player").close());
$("player").addEventListener("close", () => player.close());
$("player").addEventListener("click", (e) => { if (e.target === $("player")) $("player").close(); });
film.video.addEventListener("timeupdate", () => {
  const { currentTime, videoWidth, videoHeight } = film.video;
  if (!film.video.hidden && videoWidth) course.at(player.start + currentTime * 1000, videoWidth, videoHeight);
});
$("scrub").addEventListener("input", () => player.seek($("scrub").value / 1000));
$("player").addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.altKey || e.metaKey) return;
  const onButton = e.target.closest("button, a, video") && e.target !== $("play");
  if (e.key === " " && !onButton) player.toggle();
  else if (e.key === "ArrowLeft") move(-1);
  else if (e.key === "ArrowRight") move(1);
  else if (e.key === "j") player.neighbour(1);
  else if (e.key === "k") player.neighbour(-1);
  else if (e.key === "Delete") $("delete").click();
  else return;
  e.preventDefault();
});
