// Why there was an event at a camera, and why there was none: a list that stays current, each entry's box on the picture.
import { $, api, clock, el, pill, share, span } from "./dom.js";
import { sent } from "./handover.js";
import { drawBoxes } from "./overlay.js";

const EVERY_MS = 2500;

/** An entry in words: what, for how long, how much, where. */
function facts(e) {
  const seconds = (e.last_ms - e.first_ms) / 1000, [, , w, h] = e.box;
  const parts = e.event ? [`${share(e.score)} of the picture moved`]
    : [seconds < 0.1 ? "for a moment" : `for ${span(seconds)}`, `${share(w)} wide, ${share(h)} high`];
  if (e.wanted) parts.push(`evidence ${+e.evidence.toFixed(1)}, an event needs ${+e.wanted.toFixed(1)}`);
  if (e.zone) parts.push(`zone ${e.zone}`);
  return parts.join(" · ");
}

class Whys {
  constructor() {
    this.camera = "";
    this.chosen = "";
    this.timer = 0;
  }

  open(camera, mine) {
    this.camera = camera;
    this.mine = mine;
    this.arms(null);
    this.chosen = "";
    $("why-title").textContent = `${camera}: events, and why not`;
    $("why-list").replaceChildren();
    $("why-none").hidden = $("why-trouble").hidden = true;
    this.box(null);
    this.look();
    $("why").showModal();
    this.read();
  }

  close() {
    clearTimeout(this.timer);
    this.camera = "";
  }

  /** The newest picture under the box; film cameras have none, then the box stands on black. */
  look() { $("why-picture").src = `/api/v1/cameras/${this.camera}/latest.jpg?${Date.now()}`; }

  async read() {
    const camera = this.camera;
    let told = null, error = "";
    try {
      told = await api(`/cameras/${camera}/why`);
      error = told.error ?? "";
    } catch (e) {
      error = e.message;
    }
    if (camera !== this.camera) return;
    $("why-trouble").hidden = !error;
    const from = told?.as_of_ms ? ` What follows it told at ${clock(told.as_of_ms)}.` : "";
    $("why-trouble").textContent = error && `No news from the camera's agent: ${error}.${from}`;
    this.arms(error ? null : told.armed);
    if (told) this.show(told.entries, !error);
    this.timer = setTimeout(() => this.read(), EVERY_MS);
  }

  /** Whether motion makes events there now; null: not known. */
  arms(armed) {
    this.armed = armed;
    $("why-armed").hidden = armed === null;
    $("why-arm").hidden = armed === null || !this.mine;
    pill($("why-armed"), armed ? "motion makes events" : "disarmed", armed ? "good" : "warn");
    $("why-arm").textContent = armed ? "Disarm" : "Arm";
  }

  async arm() {
    const camera = this.camera, wanted = !this.armed;
    const done = await api(`/cameras/${camera}/command`, sent("POST", { do: wanted ? "arm" : "disarm" })).catch((e) => ({ error: e.message }));
    if (camera !== this.camera) return;
    if (done.ok) return this.arms(wanted);
    $("why-trouble").hidden = false;
    $("why-trouble").textContent = `That did not work: ${done.error}.`;
  }

  show(entries, current) {
    $("why-none").hidden = entries.length > 0 || !current;
    const at = document.activeElement?.dataset?.key;
    $("why-list").replaceChildren(...entries.map((e) => this.row(e)));
    if (at) $("why-list").querySelector(`[data-key="${CSS.escape(at)}"]`)?.focus();
    const chosen = entries.find((e) => this.key(e) === this.chosen) ?? entries[0];
    this.box(chosen ?? null);
  }

  key(e) { return `${e.event}-${e.first_ms}-${e.reason}-${e.box[0]}`; }

  row(e) {
    const open = e.event && el("a", { class: "button quiet full", href: `#event=${this.camera}/${e.event}`,
      onclick: () => $("why").close() }, "Play");
    const choose = () => { this.chosen = this.key(e); this.box(e); };
    const button = el("button", { type: "button", class: "quiet reason", "data-key": this.key(e), onclick: choose, onfocus: choose },
      el("span", { class: "when" }, clock(e.first_ms)),
      el("span", {}, el("strong", {}, e.event ? `Event ${e.event}: ${e.words}` : `No event: ${e.words}`),
        el("span", { class: "muted small" }, facts(e))));
    return el("li", { class: e.event ? "made" : "" }, button, ...(open ? [open] : []));
  }

  box(entry) {
    const picture = $("why-picture");
    $("why-boxes").classList.toggle("made", Boolean(entry?.event));
    drawBoxes($("why-boxes"), picture.naturalWidth || 640, picture.naturalHeight || 480, entry ? [entry.box] : []);
    for (const b of $("why-list").querySelectorAll(".reason")) {
      b.setAttribute("aria-pressed", String(entry !== null && b.dataset.key === this.key(entry)));
    }
    this.shown = entry;
  }
}

export const whys = new Whys();
$("why").addEventListener("close", () => whys.close());
$("why").addEventListener("click", (e) => { if (e.target === $("why")) $("why").close(); });
$("why-close").addEventListener("click", () => $("why").close());
$("why-arm").addEventListener("click", () => whys.arm());
$("why-picture").addEventListener("load", () => whys.box(whys.shown));
