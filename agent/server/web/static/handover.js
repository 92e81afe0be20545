// Everything that a new camera's device needs, ready to paste; it is shown once.
import { el } from "./dom.js";

const WORDS = {
  agent: ["A computer or Raspberry Pi with camera-agent",
    "Run this there, with the camera's address or device in place of SOURCE; “camera-agent cameras” finds some."],
  pair: ["The same, by pairing", "Without copying the token; good for ten minutes, once."],
  curl: ["A camera or program that uploads pictures by HTTP", "Cameras take the address, user and password below."],
  ffmpeg: ["A program that pushes MJPEG", "One endless request; or any program that POSTs multipart or bare JPEGs. " +
    "With a film file as SOURCE write -re before -i: it is sent as fast as it can be read otherwise."],
  ftp: ["A camera that uploads by FTP", "For the FTP page of its settings: host, port, user and password below."],
};

async function copy(text, button, code) {
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch { // only https and localhost may write to the clipboard
    getSelection().selectAllChildren(code);
    button.textContent = "Selected";
  }
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
}

export function line(text) {
  const code = el("code", {}, text);
  const button = el("button", { type: "button", class: "quiet full", onclick: () => copy(text, button, code) }, "Copy");
  return el("div", { class: "line" }, code, button);
}

/** The box for an answer of POST /cameras or …/keys. */
export function box(made) {
  const point = made.ftp ? [["FTP", `${made.ftp.host} port ${made.ftp.port}`]] : [];
  const facts = [["User", made.login], ["Password", made.password], ["HTTP upload", made.upload_url],
    ["MJPEG push", made.mjpeg_url], ["WebSocket", made.websocket_url], ["Token", made.token], ...point];
  const ways = Object.entries(made.lines).map(([kind, text]) => {
    const [title, hint] = WORDS[kind] ?? [kind, ""];
    return el("details", { open: kind === "agent" }, el("summary", {}, title), el("p", { class: "muted small" }, hint), line(text));
  });
  return el("div", { class: "handover" },
    el("p", {}, el("strong", {}, `“${made.name}” is ready.`), " Which device sends its pictures? What follows is shown only now."), ...ways,
    el("section", {}, el("h3", {}, "Anybody may look, for a while"), line(made.view_url)),
    el("details", {}, el("summary", {}, "Address, user, password: each value by itself"),
      el("dl", {}, ...facts.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, line(value))]))));
}

/** A camera's name has small letters, digits and dashes: what a phone's keyboard makes of it is put right at once. */
export function tidy(input) {
  input.addEventListener("input", () => {
    const at = input.selectionStart, name = input.value.toLowerCase().replace(/[\s_]/g, "-");
    if (name === input.value) return;
    input.value = name;
    input.setSelectionRange(at, at);
  });
}

/** What the form for a new camera says, as the API takes it. */
export function wanted(form) {
  const data = new FormData(form), body = { name: data.get("name").replace(/^-+|-+$/g, "") };
  if (data.get("ends")) body.ends_s = Number(data.get("ends"));
  if (data.get("at_end")) body.at_end = data.get("at_end");
  if (data.get("events")) body.events = data.get("events");
  if (data.get("quota")) body.quota_bytes = Math.round(Number(data.get("quota")) * 1e9);
  if (data.get("pull")?.trim()) body.pull = data.get("pull").trim();
  return body;
}

export const sent = (method, body) => ({ method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
