// The list of events, newest first; it grows by itself while things happen.
import { $, api, clock, day, el, pictures, share, span } from "./dom.js";

const PAGE = 48, STALE_MS = 25000;
const cards = new Map();
let older = null, camera = "", onOpen = () => {}, onChange = () => {};

class Card {
  constructor(event) {
    this.image = el("img", { alt: "", loading: "lazy", decoding: "async", hidden: true });
    this.image.addEventListener("error", () => {
      this.image.hidden = true;
      this.image.removeAttribute("src"); // the next news of the event, or its end, tries again
    });
    this.length = el("span", { class: "length" });
    this.now = el("span", { class: "pill move" }, "happening now");
    this.when = el("span", { class: "when" });
    this.about = el("span", { class: "muted small" });
    this.button = el("button", { type: "button", class: "event", onclick: () => onOpen(this.event) },
      el("span", { class: "thumb" }, this.image, this.length, this.now),
      el("span", { class: "about" }, this.when, this.about));
    this.node = el("li", {}, this.button);
    this.update(event);
  }

  update(event) {
    this.event = event;
    this.touched = Date.now();
    if (event.thumb && this.image.getAttribute("src") !== event.thumb) {
      this.image.src = event.thumb;
      this.image.hidden = false;
    }
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

  tick() {
    const seconds = (this.event.end_ms - this.event.start_ms) / 1000;
    this.length.textContent = this.event.state === "open" ? `${span(Math.max(0, seconds))} …` : span(this.event.length_s);
  }
}

const after = (a, b) => a.start_ms > b.start_ms || (a.start_ms === b.start_ms && a.id > b.id);

/** All events shown, newest first. */
export const shown = () => [...cards.values()].map((c) => c.event).sort((a, b) => (after(a, b) ? -1 : 1));

/** Enter one event, new or known; true when it is new. */
export function put(event, fresh = false) {
  if (camera && event.camera !== camera) return false;
  const known = cards.get(event.id);
  if (known) {
    const moved = known.event.start_ms !== event.start_ms;
    known.update(event);
    if (moved) place(known);
    onChange(event);
    return false;
  }
  const card = new Card(event);
  cards.set(event.id, card);
  place(card);
  if (fresh) card.node.classList.add("fresh");
  onChange(event);
  return true;
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

function clear(keep) {
  for (const [id, card] of cards) {
    if (!keep(card.event)) { card.node.remove(); cards.delete(id); }
  }
}

/** Read the newest page again, as after a broken line. */
export async function refresh() {
  const page = await api(`/events?limit=${PAGE}${camera ? `&camera=${camera}` : ""}`);
  if (!page.events.length) clear(() => false);
  if (older === null || cards.size === 0) older = page.next;
  for (const event of page.events) put(event);
  $("more").hidden = older === null;
  headings();
}

export async function forget(name) {
  clear((event) => event.camera !== name);
  headings();
}

async function more() {
  const page = await api(`/events?limit=${PAGE}&before=${older}${camera ? `&camera=${camera}` : ""}`);
  older = page.next;
  for (const event of page.events) put(event);
  $("more").hidden = older === null;
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
    api(`/events/${card.event.id}`).then((e) => put(e), () => {});
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
  $("more").addEventListener("click", more);
  $("filter").addEventListener("change", () => {
    camera = $("filter").value;
    older = null;
    clear(() => false);
    refresh();
  });
}
