// The list of events, newest first; it grows by itself while things happen.
import { $, api, clock, day, el, pictures, share, span } from "./dom.js";

const PAGE = 48, STALE_MS = 25000, RETRY_MS = 1000, LAST_RETRY_MS = 60000;
const cards = new Map();
let older = null, camera = "", onOpen = () => {}, onChange = () => {};
const gone = new Set(); // the deleted ones: an answer on its way may still have them
let heard = 0; // counts the news: an answer that was asked for before one of them may be older than it

class Card {
  constructor() {
    this.image = el("img", { alt: "", loading: "lazy", decoding: "async", hidden: true });
    this.retryMs = RETRY_MS;
    this.image.addEventListener("load", () => { this.retryMs = RETRY_MS; });
    this.image.addEventListener("error", () => this.retry());
    this.length = el("span", { class: "length" });
    this.now = el("span", { class: "pill move" }, "happening now");
    this.when = el("span", { class: "when" });
    this.about = el("span", { class: "muted small" });
    this.button = el("button", { type: "button", class: "event", onclick: () => onOpen(this.event) },
      el("span", { class: "thumb" }, this.image, this.length, this.now),
      el("span", { class: "about" }, this.when, this.about));
    this.node = el("li", {}, this.button);
  }

  /** Show the event as it was when `asOf` pieces of news had been heard. */
  update(event, asOf) {
    this.event = event;
    this.asOf = asOf;
    this.touched = Date.now();
    this.picture();
    this.when.textContent = clock(event.start_ms);
    const cut = event.state === "cut" ? " · cut off" : "";
    const what = event.peak ? `${share(event.peak)} of the picture moved` : pictures(event.frames); // uploads by pauses
    this.about.textContent = `${event.camera} · ${what}${cut}`;
    this.now.hidden = event.state !== "open";
    this.button.classList.toggle("open", event.state === "open");
    this.tick();
    this.button.setAttribute("aria-label",
      `Event of ${event.camera}, ${day(event.start_ms)} ${clock(event.start_ms)}, ${this.length.textContent}`);
  }

  picture() {
    if (!this.event.thumb || this.image.getAttribute("src") === this.event.thumb) return;
    this.image.src = this.event.thumb;
    this.image.hidden = false;
  }

  /** The small picture did not come: ask again, later each time; after a minute only news of the event does. */
  retry() {
    this.image.hidden = true;
    this.image.removeAttribute("src");
    if (this.retryMs > LAST_RETRY_MS) return;
    setTimeout(() => this.picture(), this.retryMs);
    this.retryMs *= 2;
  }

  tick() {
    const seconds = (this.event.end_ms - this.event.start_ms) / 1000;
    this.length.textContent = this.event.state === "open" ? `${span(Math.max(0, seconds))} …` : span(this.event.length_s);
  }
}

const after = (a, b) => a.start_ms > b.start_ms || (a.start_ms === b.start_ms && a.id > b.id);

/** All events shown, newest first. */
export const shown = () => [...cards.values()].map((c) => c.event).sort((a, b) => (after(a, b) ? -1 : 1));

/** Enter an event that the news tell of; true when it is new. */
export function tell(event) {
  heard += 1;
  const fresh = put(event, heard);
  if (fresh) cards.get(event.id).node.classList.add("fresh");
  return fresh;
}

/** Enter one event, new or known, as it was when `asOf` pieces of news had been heard; true when it is new. */
function put(event, asOf) {
  if (gone.has(event.id) || (camera && event.camera !== camera)) return false;
  const known = cards.get(event.id);
  if (known?.asOf > asOf) return false;
  const card = known ?? new Card();
  const moved = known?.event.start_ms !== event.start_ms;
  card.update(event, asOf);
  cards.set(event.id, card);
  if (moved) place(card);
  onChange(event);
  return !known;
}

function place(card) {
  const next = [...$("events").children].find((li) => li !== card.node && li.card && after(card.event, li.card.event));
  card.node.card = card;
  $("events").insertBefore(card.node, next ?? null);
  headings();
}

function headings() {
  for (const old of $("events").querySelectorAll(".day")) old.remove();
  let last = "";
  for (const li of [...$("events").children]) {
    const text = day(li.card.event.start_ms);
    if (text !== last) $("events").insertBefore(el("li", { class: "day" }, text), li);
    last = text;
  }
  $("no-events").hidden = cards.size > 0;
  $("count").textContent = cards.size ? `${cards.size}${older ? "+" : ""}` : "";
}

/** The button of the event that is older than this one, or else of that which is newer. */
export function beside(id) {
  const list = shown(), i = list.findIndex((e) => e.id === id);
  return i < 0 ? undefined : cards.get((list[i + 1] ?? list[i - 1])?.id)?.button;
}

/** The event was deleted: its card goes. */
export function drop(id) {
  gone.add(id);
  cards.get(id)?.node.remove();
  cards.delete(id);
  headings();
}

function clear(keep) {
  for (const [id, card] of cards) {
    if (!keep(card)) { card.node.remove(); cards.delete(id); }
  }
}

/** Read a page of the list, the newest or that `before` a place, and enter it; what the news told since then stays. */
async function read(before = "") {
  const asOf = heard, of = camera;
  const page = await api(`/events?limit=${PAGE}${before && `&before=${before}`}${of && `&camera=${of}`}`);
  if (of !== camera) return; // another choice was made meanwhile, which reads for itself
  if (!before && !page.events.length) clear((card) => card.asOf > asOf);
  if (before || older === null || cards.size === 0) older = page.next;
  for (const event of page.events) put(event, asOf);
  $("more").hidden = older === null;
  headings();
}

/** Read the newest page again, as after a broken line. */
export const refresh = () => read();

export function forget(name) {
  clear((card) => card.event.camera !== name);
  headings();
}

/** The event that an address names by `#event=ID`, or `#event=CAMERA/NUMBER` as an agent counts them; null if none. */
export async function named(hash) {
  const [, owner, number] = /^#event=(?:([a-z0-9-]+)\/)?(\d+)$/.exec(hash) ?? [];
  if (!number) return null;
  if (!owner) return api(`/events/${number}`);
  for (let before = ""; before !== null;) {
    const page = await api(`/events?limit=${PAGE}&camera=${owner}${before && `&before=${before}`}`);
    const found = page.events.find((e) => e.number === Number(number));
    if (found) return found;
    before = page.next;
  }
  throw new Error("no such event");
}

/** Running events age; one that is silent for long is asked for again. */
export function tickEvents() {
  for (const card of cards.values()) {
    if (card.event.state !== "open") continue;
    card.tick();
    if (Date.now() - card.touched < STALE_MS) continue;
    card.touched = Date.now();
    const asOf = heard;
    api(`/events/${card.event.id}`).then((e) => put(e, asOf), () => {});
  }
}

/** The cameras to choose from, once there are several. */
export function showFilter(names) {
  $("filter-label").hidden = names.length < 2;
  $("filter").replaceChildren(el("option", { value: "" }, "all"),
    ...names.map((n) => el("option", { value: n, selected: n === camera }, n)));
}

export function start(handlers) {
  ({ onOpen, onChange } = handlers);
  $("more").addEventListener("click", () => read(older));
  $("filter").addEventListener("change", () => {
    camera = $("filter").value;
    older = null;
    clear(() => false);
    read();
  });
}
