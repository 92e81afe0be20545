// A shared live view: MJPEG needs no script; for cameras that send H.264 or H.265 their film takes its place.
import { LiveFilm } from "./mse.js";

const AGAIN_MS = 3000, OLD_MS = 15000;
const when = document.getElementById("when");
const video = document.querySelector("video[data-film]"), picture = document.querySelector("img.film");
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

/** A stream of pictures ends, or stands still, without a word: what it shows must not pass for live then. */
async function mind() {
  const base = video.dataset.film.replace(/film\.mp4$/, "");
  try {
    const answer = await fetch(`${base}picture.jpg`, { method: "HEAD", cache: "no-store" });
    if (!picture.isConnected) return; // the film took its place
    if (answer.status === 404) {
      picture.remove();
      when.textContent = "This link does not open anything any more.";
      return;
    }
    if (when.dataset.lost) picture.src = `${base}film.mjpeg?${Date.now()}`;
    const came = Number(answer.headers.get("X-Time-Ms")), now = Date.parse(answer.headers.get("Date"));
    const old = `not live: this picture came at ${new Date(came).toLocaleString()}`;
    when.textContent = !answer.ok ? "waiting for the camera" : now - came < OLD_MS ? "live" : old;
    delete when.dataset.lost;
  } catch {
    when.dataset.lost = "yes";
    when.textContent = "no connection";
  }
  setTimeout(mind, AGAIN_MS);
}

mind();
