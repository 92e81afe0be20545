// Plays an event of H.264 or H.265: the server wraps the camera's pictures as MP4, the browser has the controls.
import { $ } from "./dom.js";

class Film {
  constructor() {
    this.upto = 0;
    this.video = $("film");
  }

  /** Whether these clips are a film; JPEGs are drawn one by one instead. */
  plays(clips) { return clips.length > 0 && clips[0].codec !== "jpeg"; }

  open(event, clips, say) {
    this.say = say;
    this.codec = clips[0].codec;
    this.show(true);
    this.load(event, clips);
    this.video.play().catch(() => {});
  }

  load(event, clips) {
    this.upto = Math.max(...clips.map((c) => c.seq));
    this.perS = event.length_s > 0 ? Math.max(1, event.frames / Math.max(event.length_s, 1)) : 25;
    const url = `/api/v1/events/${event.id}/event.mp4?to=${this.upto}`;
    this.video.src = url;
    Object.assign($("save-film"), { href: url, download: `${event.camera}-${event.number}.mp4` });
    $("save-film").textContent = "Save as MP4";
  }

  /** More of the event has come: go on where the film has ended, or take it up before it does. */
  grow(event, clips) {
    const upto = Math.max(...clips.map((c) => c.seq));
    if (upto === this.upto || !(this.video.ended || event.state !== "open")) return;
    const at = this.video.currentTime, playing = !this.video.paused || this.video.ended;
    this.load(event, clips);
    this.video.currentTime = at;
    if (playing) this.video.play().catch(() => {});
  }

  show(on) {
    this.video.hidden = !on;
    for (const id of ["screen", "controls", "save-picture"]) $(id).hidden = on;
  }

  hide() {
    this.show(false);
    if (!this.video.src) return;
    this.video.pause();
    this.video.removeAttribute("src");
    this.video.load();
  }

  toggle() {
    if (this.video.paused) this.video.play().catch(() => {});
    else this.video.pause();
  }

  step(by) {
    this.video.pause();
    this.video.currentTime += by / this.perS;
  }
}

export const film = new Film();
film.video.addEventListener("error", () => {
  if (film.video.hidden || !film.video.src) return;
  film.say(`This browser cannot play the event (${film.codec}). It can be saved as MP4.`);
});
