// Small helpers for building the page and for words of time and size.
export const $ = (id) => document.getElementById(id);

/** An element with attributes and children; text is always text, never markup. */
export function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value !== false && value != null) node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

export const minute = (ms) => new Date(ms).toLocaleTimeString(undefined, { timeStyle: "short" });
export const clock = (ms) => new Date(ms).toLocaleTimeString();

export const day = (ms) => {
  const date = new Date(ms), today = new Date(), yesterday = new Date(Date.now() - 86400000);
  if (date.toDateString() === today.toDateString()) return "Today";
  if (date.toDateString() === yesterday.toDateString()) return "Yesterday";
  return date.toLocaleDateString(undefined, { weekday: "long", day: "numeric", month: "long", year: "numeric" });
};

export function span(seconds) {
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const s = Math.round(seconds), two = (n) => String(n).padStart(2, "0");
  return s < 3600 ? `${Math.floor(s / 60)}:${two(s % 60)}` : `${Math.floor(s / 3600)} h ${two(Math.floor(s / 60) % 60)} min`;
}

export const size = (bytes) => (bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);

export const pictures = (count) => `${count} picture${count === 1 ? "" : "s"}`;
export const share = (part) => (part >= 0.01 ? `${Math.round(part * 100)} %` : `${(part * 100).toFixed(1)} %`);

export function pill(node, text, kind = "") {
  if (node.textContent !== text) node.textContent = text;
  node.className = `pill ${kind}`;
}

/** JSON of the API; throws an Error with the server's words, and goes to the login when there is no session. */
export async function api(path, options = {}) {
  const answer = await fetch(`/api/v1${path}`, options);
  if (answer.status === 401) {
    location.assign("/login");
    throw new Error("not logged in");
  }
  const body = answer.status === 204 ? null : await answer.json();
  if (!answer.ok) throw Object.assign(new Error(body?.detail || answer.statusText), { status: answer.status });
  return body;
}
