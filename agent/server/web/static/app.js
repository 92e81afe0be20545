// Puts the page together: cameras, events and the stream of news that keeps them current.
import { $, api, minute, pill } from "./dom.js";
import * as events from "./events.js";
import { box, sent, tidy, wanted } from "./handover.js";
import { showCameras, showMotion, tickCameras } from "./live.js";
import { startMarks } from "./marks.js";
import { player } from "./player.js";

const NOTES_MS = 15000;
const cameras = new Map(), moving = new Map();
let owner = false, notes = {}, reading = null, again = false;

function changed(event) {
  if (event.state === "open") moving.set(event.id, event.camera);
  else moving.delete(event.id);
  showMotion(new Set(moving.values()));
  player.news(event);
}

function drawCameras() {
  const list = [...cameras.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  showCameras(list);
  events.showFilter(list.map((c) => c.name));
}

/** Read everything again. One reading at a time, so that an older answer never comes after a newer one. */
function refresh() {
  again = true;
  return reading ??= readAll();
}

async function readAll() {
  try {
    while (again) {
      again = false;
      await read();
    }
  } finally {
    reading = null;
  }
}

async function read() {
  const { cameras: list } = await api("/cameras");
  cameras.clear();
  for (const camera of list) cameras.set(camera.name, camera);
  drawCameras();
  await events.refresh();
}

function tell(event) {
  if (event.state === "deleted") return deleted(event);
  if (events.tell(event) && event.state === "open") $("said").textContent = `Something moves at ${event.camera}`;
}

function deleted(event) {
  events.drop(event.id);
  changed(event);
}

/** The event that plays is about to be deleted here; returned is what to do then: go on from the one beside it. */
function leaving(event) {
  const next = events.beside(event.id);
  player.pause(); // it would ask for pictures that are not there any more
  return () => {
    $("player").close();
    deleted({ ...event, state: "deleted" });
    next?.focus();
    $("said").textContent = "The event is deleted.";
  };
}

function cameraNews(camera) {
  if (camera.state === "deleted") {
    cameras.delete(camera.name);
    events.forget(camera.name);
  } else if (reading || !cameras.has(camera.name)) {
    refresh(); // whose it is, the news does not say; and what is being read may be older than the news
    return;
  } else cameras.set(camera.name, { ...cameras.get(camera.name), ...camera });
  drawCameras();
}

function listen() {
  const news = new EventSource("/api/v1/news");
  news.onopen = () => {
    pill($("link"), "connected", "good");
    showNotes();
    refresh(); // what happened before somebody listened is not told
  };
  news.onerror = () => {
    pill($("link"), "no connection", "bad");
    if (notes.ends_at) $("notes").textContent = "the watch has ended, or the network is away";
    if (news.readyState !== EventSource.CLOSED) return;
    api("/about").catch(() => {});
    setTimeout(listen, 3000);
  };
  news.addEventListener("event", (m) => tell(JSON.parse(m.data).data));
  news.addEventListener("camera", (m) => cameraNews(JSON.parse(m.data).data));
  news.addEventListener("missed", refresh);
}

/** The watch may be made longer at its terminal. */
async function askNotes() {
  notes = (await api("/about")).notes;
  showNotes();
}

function showNotes() {
  const end = notes.ends_at;
  if (!end) return;
  const fate = notes.kept ? "recordings are kept" : "nothing is kept afterwards";
  $("notes").textContent = `watching until ${minute(Date.parse(end))}; ${fate}`;
}

/** The event in the page's address, once; closing it takes it out of there. */
async function openNamed() {
  try {
    const event = await events.named(location.hash);
    if (event) await player.open(event);
  } catch {
    $("notes").textContent = "The event of this link is not here, or not any more.";
  }
}

function startAdding() {
  $("add").hidden = false;
  tidy($("new-name"));
  $("add").addEventListener("click", () => {
    $("adding-form").hidden = false;
    $("added").hidden = $("adding-error").hidden = true;
    $("new-name").value = "";
    $("adding").showModal();
  });
  for (const id of ["adding-cancel", "added-done"]) $(id).addEventListener("click", () => $("adding").close());
  $("adding").addEventListener("close", () => $("added-box").replaceChildren());
  $("adding-form").addEventListener("submit", async (e) => {
    e.preventDefault();
    try {
      $("added-box").replaceChildren(box(await api("/cameras", sent("POST", wanted($("adding-form"))))));
      $("adding-form").hidden = true;
      $("added").hidden = false;
      $("added-box").querySelector("summary").focus();
      refresh();
    } catch (error) {
      $("adding-error").textContent = error.message;
      $("adding-error").hidden = false;
    }
  });
}

async function start() {
  const about = await api("/about");
  owner = about.role === "owner" || about.role === "member";
  $("settings").hidden = about.role === "guest";
  startMarks({ mine: (name) => cameras.get(name)?.mine, say: (text) => player.say(text), leaving });
  notes = about.notes;
  showNotes();
  if (notes.ends_at) setInterval(() => askNotes().catch(() => {}), NOTES_MS);
  if (owner) startAdding();
  $("no-cameras-more").textContent = owner
    ? "Press “Add a camera”; it tells what to do at the camera's end." : "It appears here by itself.";
  events.start({ onOpen: (event) => player.open(event), onChange: changed });
  await refresh();
  listen();
  openNamed();
  window.addEventListener("hashchange", openNamed);
  $("player").addEventListener("close", () => history.replaceState(null, "", location.pathname));
  setInterval(() => { tickCameras(); events.tickEvents(); }, 1000);
  tickCameras();
}

start();
