// A shared live view: MJPEG needs no script; for cameras that send H.264 or H.265 their film takes its place.
import { LiveFilm } from "./mse.js";

const FIRST_MS = 500, AGAIN_MS = 3000, OLD_MS = 15000;
const when = document.getElementById("when");
const video = document.querySelector("video[data-film]");
let picture = document.querySelector("img.film"), coming = null;
video.muted = true; // the attribute alone does not let a film start by itself

function shown() {
  when.textContent = "live";
  video.hidden = false;
  picture.remove(); // which ends its stream, too
  document.querySelector("a[download]").hidden = true; // there is no JPEG to save
}

async function play() {
  try {
    await new LiveFilm(video.dataset.film, video).run(shown);
  } catch (e) {
    if (e.status === 415) video.after(e.message); // as of H.265 in some browsers
    if (e.status && e.status !== 503) return; // it sends JPEGs, or the link opens nothing any more
  }
  setTimeout(play, AGAIN_MS);
}

play();

let source = ""; // of the picture, as it was set here

/** In place of what is shown, once there is something of it: of a stream that is not before its second picture. */
function show(url) {
  coming?.removeAttribute("src"); // which ends a stream, too
  const next = (coming = picture.cloneNode());
  next.onload = () => {
    if (next !== coming || !picture.isConnected) return;
    picture.replaceWith(next);
    picture.removeAttribute("src");
    [picture, coming] = [next, null];
  };
  next.src = url;
}

/** A stream of pictures ends, or stands still, without a word: what it shows must not pass for live then. */
async function mind() {
  let again = AGAIN_MS;
  const base = video.dataset.film.replace(/film\.mp4$/, "");
  try {
    const answer = await fetch(`${base}picture.jpg`, { method: "HEAD", cache: "no-store" });
    if (!picture.isConnected) return; // the film took its place
    if (answer.status === 404) {
      picture.remove();
      coming?.removeAttribute("src");
      when.textContent = "This link does not open anything any more.";
      return;
    }
    const came = Number(answer.headers.get("X-Time-Ms"));
    const live = answer.ok && Number(answer.headers.get("X-Age-Ms")) < OLD_MS;
    const old = `not live: this picture came at ${new Date(came).toLocaleString()}`;
    when.textContent = !answer.ok ? "waiting for the camera" : live ? "live" : old;
    const wanted = live && source ? "film.mjpeg" : `picture.jpg?${came}`; // first what is there
    if (answer.ok && wanted !== source) {
      source = wanted;
      show(base + (source === "film.mjpeg" ? `${source}?${Date.now()}` : source));
      if (source !== "film.mjpeg") again = FIRST_MS;
    }
  } catch {
    source = "";
    when.textContent = "no connection";
  }
  setTimeout(mind, again);
}

mind();
