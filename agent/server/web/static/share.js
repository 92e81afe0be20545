// A shared live view: MJPEG needs no script; for cameras that send H.264 or H.265 their film takes its place.
import { LiveFilm } from "./mse.js";

const AGAIN_MS = 3000;
const video = document.querySelector("video[data-film]"), picture = document.querySelector("img.film");
video.muted = true; // the attribute alone does not let a film start by itself

function shown() {
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
