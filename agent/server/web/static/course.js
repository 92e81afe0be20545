// The course of an event while it plays: boxes over the picture, and how much moved as a small plot with a mark for now.
import { $, api, share } from "./dom.js";
import { drawBoxes, shape } from "./overlay.js";

const KEY = "boxes", NEAR_MS = 700, WIDE = 1000, HIGH = 60;

class Course {
  constructor() {
    this.on = localStorage.getItem(KEY) !== "off";
    this.forget();
    this.button();
  }

  forget() {
    this.event = null;
    this.moments = [];
    this.now = null;
    $("plot-row").hidden = true;
    $("boxes-switch").hidden = true;
    $("where").textContent = "";
    drawBoxes($("boxes"), 4, 3, []);
  }

  /** What is known of this event; while it goes on that is nothing yet. `span`: [first, last] ms of its film. */
  async open(event, span) {
    if (this.event?.id === event.id && this.moments.length) return this.plot(span);
    this.event = event;
    let told;
    try {
      told = await api(`/events/${event.id}/course`);
    } catch {
      return; // the film plays without it
    }
    if (this.event?.id !== event.id) return;
    this.moments = told.course.map((m) => ({ ...m, at: told.start_ms + m.ms }));
    if (!this.moments.length && event.boxes.length) this.moments = [{ at: event.start_ms, score: event.peak, boxes: event.boxes }];
    $("boxes-switch").hidden = !this.moments.some((m) => m.boxes.length);
    const biggest = told.biggest && ` · largest part ${share(told.biggest[2])} wide, ${share(told.biggest[3])} high`;
    $("where").textContent = (biggest || "") + (told.zone && ` · zone ${told.zone}`);
    this.plot(span);
    this.draw();
  }

  plot([first, last]) {
    this.span = [first, last];
    $("plot-row").hidden = this.moments.length < 2;
    const most = Math.max(...this.moments.map((m) => m.score), 1e-6);
    const x = (at) => WIDE * (at - first) / Math.max(1, last - first);
    const y = (score) => HIGH - 2 - (HIGH - 6) * score / most;
    const line = this.moments.map((m) => `${x(m.at).toFixed(1)},${y(m.score).toFixed(1)}`);
    if (!line.length) return;
    const area = `${x(this.moments[0].at).toFixed(1)},${HIGH} ${line.join(" ")} ${x(this.moments.at(-1).at).toFixed(1)},${HIGH}`;
    this.mark = shape("line", { x1: 0, x2: 0, y1: 0, y2: HIGH, class: "now" });
    $("plot").replaceChildren(shape("polygon", { points: area }), shape("polyline", { points: line.join(" ") }), this.mark);
    $("plot").setAttribute("aria-label", `How much moved, at most ${share(most)} of the picture`);
    if (this.now) this.at(...this.now);
  }

  /** The picture of this moment (ms UTC) and size is on the screen. */
  at(ms, width, height) {
    this.now = [ms, width, height];
    if (this.mark && this.span) {
      const x = WIDE * Math.min(1, Math.max(0, (ms - this.span[0]) / Math.max(1, this.span[1] - this.span[0])));
      this.mark.setAttribute("x1", x);
      this.mark.setAttribute("x2", x);
    }
    this.draw();
  }

  draw() {
    if (!this.now) return;
    const [ms, width, height] = this.now;
    let best = null;
    for (const m of this.moments) if (!best || Math.abs(m.at - ms) <= Math.abs(best.at - ms)) best = m;
    const shown = this.on && best && Math.abs(best.at - ms) < NEAR_MS ? best.boxes : [];
    drawBoxes($("boxes"), width, height, shown);
  }

  button() {
    $("boxes-switch").setAttribute("aria-pressed", String(this.on));
    $("boxes-switch").textContent = this.on ? "Hide boxes" : "Show boxes";
  }

  toggle() {
    this.on = !this.on;
    localStorage.setItem(KEY, this.on ? "on" : "off");
    this.button();
    this.draw();
  }
}

export const course = new Course();
$("boxes-switch").addEventListener("click", () => course.toggle());
