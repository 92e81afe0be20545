// Keep and share, for the event that plays; only the camera's owner gets the buttons.
import { $, api } from "./dom.js";
import { sent } from "./handover.js";

let event = null, mine = () => false;

export function startMarks(options) {
  mine = options.mine;
  $("keep").addEventListener("click", async () => {
    const { id, kept } = event;
    const now = await api(`/events/${id}/kept`, sent("PUT", { kept: !kept }));
    if (event?.id === id) showMarks(Object.assign(event, { kept: now.kept }));
  });
  $("share").addEventListener("click", async () => {
    const { url } = await api("/shares", sent("POST", { event: event.id }));
    $("shared").textContent = url;
    $("shared-row").hidden = false;
    getSelection().selectAllChildren($("shared"));
    await navigator.clipboard?.writeText(url).catch(() => {});
  });
}

export function showMarks(shown) {
  if (shown.id !== event?.id) $("shared-row").hidden = true;
  event = shown;
  $("keep").hidden = $("share").hidden = !mine(shown.camera);
  $("keep").textContent = shown.kept ? "Kept" : "Keep";
  $("keep").setAttribute("aria-pressed", String(shown.kept));
}
