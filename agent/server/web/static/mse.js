// H.264 and H.265 live: the server's endless fragmented MP4, fed to a <video> through MediaSource.
const Source = window.MediaSource ?? window.ManagedMediaSource; // iPhones have the latter only
const KEEP_S = 20, LATE_S = 1.5, EDGE_S = 0.15;

/** One stretch of live film in `video`; `run` resolves when it ends, and throws an Error in words for people. */
export class LiveFilm {
  constructor(url, video) {
    this.url = url;
    this.video = video;
    this.cut = new AbortController();
  }

  async run(onPicture) {
    const answer = await fetch(this.url, { signal: this.cut.signal });
    if (!answer.ok) throw await refusal(answer);
    const type = answer.headers.get("Content-Type");
    if (!Source?.isTypeSupported(type)) {
      this.stop();
      const codec = type.match(/codecs="([^"]*)"/)?.[1] ?? type;
      throw Object.assign(new Error(`This browser cannot play what this camera sends (${codec}).`), { status: 415 });
    }
    const source = new Source();
    this.video.disableRemotePlayback = true; // a managed source asks for it
    const address = URL.createObjectURL(source);
    try {
      this.video.src = address;
      await new Promise((done) => source.addEventListener("sourceopen", done, { once: true }));
      this.buffer = source.addSourceBuffer(type);
      this.video.requestVideoFrameCallback?.(this.watch(onPicture));
      const reader = answer.body.getReader();
      for (let part = await reader.read(); !part.done; part = await reader.read()) {
        await this.append(part.value);
        this.follow();
      }
    } finally {
      this.stop();
      URL.revokeObjectURL(address);
    }
  }

  watch(onPicture) {
    return (_, about) => {
      onPicture(about);
      if (!this.cut.signal.aborted) this.video.requestVideoFrameCallback(this.watch(onPicture));
    };
  }

  async append(bytes) {
    if (this.buffer.updating) await this.settled(); // what was shown is being forgotten
    this.buffer.appendBuffer(bytes);
    await this.settled();
  }

  /** One pair of handlers, replaced each time: listeners would heap up, two for each picture. */
  settled() {
    return new Promise((done, failed) => {
      this.buffer.onupdateend = done;
      this.buffer.onerror = () => failed(new Error("The camera sent damaged pictures."));
    });
  }

  /**
   * Stay at the live edge: start there, jump to it when late, and forget what was shown. A jump is let end first: it
   * decodes from the keyframe on, and a slow machine that begins anew each time would never show a picture.
   */
  follow() {
    const { video, buffer } = this, { buffered } = buffer;
    if (!buffered.length) return;
    const end = buffered.end(buffered.length - 1);
    const late = end - video.currentTime > LATE_S || video.currentTime < buffered.start(buffered.length - 1);
    if (late && !video.seeking) {
      video.currentTime = Math.max(buffered.start(buffered.length - 1), end - EDGE_S);
    }
    if (video.paused) video.play().catch(() => {});
    if (video.currentTime - buffered.start(0) > KEEP_S && !buffer.updating) buffer.remove(0, video.currentTime - KEEP_S / 2);
  }

  stop() { this.cut.abort(); }
}

async function refusal(answer) {
  const { detail } = await answer.json().catch(() => ({}));
  return Object.assign(new Error(detail || answer.statusText), { status: answer.status });
}
