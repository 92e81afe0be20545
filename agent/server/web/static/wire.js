// The server's binary formats (docs/protocol.md): live messages and clips, read without copying a picture.
export const JPEG = 1;
const LIVE_HEAD = 40, CLIP_HEADS = [0, 32, 40], PREROLL = 2; // clip heads by version

/** A LIVE message: {codec, index, wallNs, bytes}; wallNs is exact to 256 ns. Null for anything else. */
export function liveFrame(buffer) {
  const v = new DataView(buffer);
  if (buffer.byteLength < LIVE_HEAD || v.getUint8(0) !== 1 || v.getUint8(1) !== 1) return null;
  return {
    codec: v.getUint8(2),
    index: Number(v.getBigUint64(8)),
    wallNs: Number(v.getBigInt64(16)),
    bytes: new Uint8Array(buffer, v.getUint16(4)),
  };
}

/** The frames of a clip: [{codec, preroll, index, wallNs, wallMs, bytes}]. Throws where it is no clip. */
export function clipFrames(buffer) {
  const v = new DataView(buffer), frames = [];
  for (let at = 0; at < buffer.byteLength;) {
    const head = CLIP_HEADS[v.getUint8(at)];
    if (!head) throw new Error("not a clip");
    const length = v.getUint32(at + 4), wallNs = Number(v.getBigInt64(at + 24));
    frames.push({
      codec: v.getUint8(at + 1),
      preroll: (v.getUint16(at + 2) & PREROLL) !== 0,
      index: Number(v.getBigUint64(at + 8)),
      wallNs,
      wallMs: wallNs / 1e6,
      bytes: new Uint8Array(buffer, at + head, length),
    });
    at += head + length;
  }
  return frames;
}

/** Draw a JPEG's bytes; the canvas takes the picture's size. Resolves to false where it cannot be decoded. */
export async function draw(canvas, bytes) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(new Blob([bytes], { type: "image/jpeg" }));
  } catch {
    return false;
  }
  if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
    canvas.width = bitmap.width;
    canvas.height = bitmap.height;
  }
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  bitmap.close();
  return true;
}

/** SHA-256 as hex; only where the browser offers it (https and this machine). */
export async function sha256(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (b) => b.toString(16).padStart(2, "0")).join("");
}
