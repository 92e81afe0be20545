// Cameras, links, people and tokens: all that an account may change.
import { $, api, day, el, minute, pill, size } from "./dom.js";
import { editor } from "./editor.js";
import { box, line, sent, tidy, wanted } from "./handover.js";

const when = (ms) => `${day(ms)} ${minute(ms)}`;
const button = (text, onclick) => el("button", { type: "button", class: "quiet full", onclick: attempt(onclick) }, text);

/** Do it, and say what went wrong where somebody sees it. */
function attempt(work) {
  return async (e) => {
    e?.preventDefault?.();
    $("trouble").hidden = true;
    try {
      await work(e);
    } catch (error) {
      $("trouble").textContent = error.message;
      $("trouble").hidden = false;
    }
  };
}

function fill(id, rows, nothing) {
  $(id).replaceChildren(...(rows.length ? rows : [el("li", { class: "empty" }, nothing)]));
}

function row(name, facts, ...buttons) {
  return el("li", { class: "panel row" }, el("span", { class: "name" }, name), ...facts, el("span", { class: "row acts" }, ...buttons));
}

function until(ms) {
  return ms < Date.now() ? `ended ${when(ms)}` : `until ${when(ms)}`;
}

function detail(c) {
  const { bytes, events, days_left: left } = c.stored;
  const ends = c.ends_ms ? ` · ends ${when(c.ends_ms)}` : "";
  const days = left < 1 ? "less than a day" : left < 730 ? `${Math.round(left)} days` : "years";
  const room = left == null ? "" : ` · room for ${days}`;
  return `${events} ${events === 1 ? "event" : "events"}, ${size(bytes)}${room}${ends}`;
}

async function cameraRow({ name }) {
  const [c, { accounts }] = await Promise.all([api(`/cameras/${name}`), api(`/cameras/${name}/viewers`)]);
  const state = el("span", {});
  pill(state, { up: "connected", away: "away", waiting: "waiting for the first picture", ended: "ended" }[c.state],
    c.state === "up" ? "good" : c.state === "waiting" ? "warn" : "");
  const item = row(name, [state, el("span", { class: "muted" }, detail(c))],
    button("Settings", () => {
      const open = item.querySelector("form");
      if (open) return open.remove();
      item.append(editor(c, cameras, () => item.querySelector("form").remove()));
    }),
    button("New keys", async () => show(await api(`/cameras/${name}/keys`, { method: "POST" }))),
    button("Invite a viewer", () => invite({ camera: name }, "made")),
    button("Share live", async () => {
      const { url } = await api("/shares", sent("POST", { camera: name }));
      $("made").replaceChildren(el("p", {}, `Whoever has this link sees ${name} live until tomorrow:`), line(url));
      await shares();
    }),
    button("Delete", async () => {
      if (!confirm(`Delete ${name} with ${detail(c)}? Nothing of it remains.`)) return;
      await api(`/cameras/${name}`, { method: "DELETE" });
      await Promise.all([cameras(), shares()]);
    }));
  if (c.pull_error) item.append(el("span", { class: "error" }, `Its pictures cannot be fetched: ${c.pull_error}`));
  if (accounts.length) item.append(viewers(name, accounts));
  return item;
}

/** Who else sees the camera; what was shown to somebody can be taken back. */
function viewers(name, accounts) {
  return el("span", { class: "row viewers" }, el("span", { class: "muted" }, `Also seen by ${accounts.map((a) => a.name).join(", ")}`),
    ...accounts.map((a) => button(`Remove ${a.name}`, async () => {
      if (!confirm(`Shall ${a.name} see ${name} no more?`)) return;
      await api(`/cameras/${name}/viewers/${a.id}`, { method: "DELETE" });
      await cameras();
    })));
}

function show(made) {
  $("made").replaceChildren(box(made));
  $("made").scrollIntoView({ block: "nearest" });
  return cameras();
}

async function invite(body, where) {
  const { url } = await api("/invitations", sent("POST", body));
  $(where).replaceChildren(el("p", {}, "This link makes one account, within three days:"), line(url));
}

/** The cameras that a token may be for. */
function choices(all) {
  const { camera } = $("new-token").elements, chosen = camera.value;
  camera.replaceChildren(el("option", { value: "" }, "all cameras"),
    ...all.map((c) => el("option", { value: c.name, selected: c.name === chosen }, c.name)));
}

async function cameras() {
  const { cameras: all } = await api("/cameras");
  choices(all);
  fill("cameras-list", await Promise.all(all.filter((c) => c.mine).map(cameraRow)), "None yet. Add one above; it takes a second.");
}

async function shares() {
  const { shares: all } = await api("/shares");
  fill("shares-list", all.map((s) => row(s.event ? `${s.camera}, an event` : `${s.camera}, live`,
    [el("span", { class: "muted" }, `${until(s.expires_ms)} · ${s.views === 0 ? "not opened yet" : s.views === 1 ? "opened once" : `opened ${s.views} times`}`)],
    button("Revoke", async () => { await api(`/shares/${s.id}`, { method: "DELETE" }); await shares(); }))),
    "No links: nobody looks without an account.");
}

async function people() {
  const { accounts } = await api("/accounts");
  const words = { owner: "owner of the server", member: "has cameras of their own", viewer: "looks at cameras shown to them" };
  fill("people-list", accounts.map((a) => row(a.name, [el("span", { class: "muted" }, words[a.role])],
    ...(a.role === "owner" ? [] : [button("Delete", async () => {
      if (!confirm(`Delete ${a.name} with all their cameras?`)) return;
      await api(`/accounts/${a.id}`, { method: "DELETE" });
      await people();
    })]))), "Nobody.");
}

async function tokens() {
  const [{ tokens: all }, { cameras: seen }] = await Promise.all([api("/tokens"), api("/cameras")]);
  choices(seen);
  fill("tokens-list", all.map((t) => row(t.name,
    [el("span", { class: "muted" }, `${t.scope === "read" ? "may look" : "may do everything"}${t.camera ? ` at ${t.camera}` : ""} · ${until(t.expires_ms)}`)],
    button("Revoke", async () => { await api(`/tokens/${t.id}`, { method: "DELETE" }); await tokens(); }))),
    "No tokens: no program uses your account.");
}

const start = attempt(async () => {
  const { role, account } = await api("/about");
  if (role === "guest") return location.assign("/");
  $("account").textContent = account;
  const work = [tokens()];
  $("tokens-section").hidden = false;
  if (role !== "viewer") {
    $("cameras-section").hidden = $("shares-section").hidden = false;
    work.push(cameras(), shares());
  }
  if (role === "owner") {
    $("people-section").hidden = $("pull-label").hidden = false;
    work.push(people());
  }
  await Promise.all(work);
});

tidy($("new-camera").elements.name);
$("new-camera").addEventListener("submit", attempt(async (e) => {
  const form = e.target;
  const made = await api("/cameras", sent("POST", wanted(form)));
  form.reset();
  await show(made);
}));
$("new-token").addEventListener("submit", attempt(async (e) => {
  const form = e.target, data = new FormData(form);
  const body = { name: data.get("name"), scope: data.get("scope"), camera: data.get("camera") || null, life_s: Number(data.get("life")) };
  const { token } = await api("/tokens", sent("POST", body));
  form.reset();
  $("token-made").replaceChildren(el("p", {}, "It is shown only now:"), line(token));
  await tokens();
}));
$("new-password").addEventListener("submit", attempt(async (e) => {
  await api("/password", sent("PUT", Object.fromEntries(new FormData(e.target))));
  location.assign("/login");
}));
$("invite").addEventListener("click", attempt(() => invite({}, "invited")));
$("everywhere").addEventListener("click", attempt(async () => {
  await api("/logout-everywhere", { method: "POST" });
  location.assign("/login");
}));
start();
