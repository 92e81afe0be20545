// Keep and share, for the event that plays; only the camera's owner gets the buttons.
import { $, api } from "./dom.js";
import { line, sent } from "./handover.js";

let event = null, mine = () => false;

/** `mine`: whether a camera's name is one of the reader's; `say`: where a sentence is shown. */
export function startMarks(options) {
  mine = options.mine;
  const on = (id, work) => $(id).addEventListener("click", () => work().catch((e) => options.say(e.message)));
  on("keep", async () => {
    const { id, kept } = event;
    const now = await api(`/events/${id}/kept`, sent("PUT", { kept: !kept }));
    if (event?.id === id) showMarks(Object.assign(event, { kept: now.kept }));
  });
  on("share", async () => {
    const { url } = await api("/shares", sent("POST", { event: event.id }));
    $("shared").replaceChildren(line(url));
    $("shared-row").hidden = false;
    $("shared-row").scrollIntoView({ block: "nearest" });
  });
}

export function showMarks(shown) {
  if (shown.id !== event?.id) $("shared-row").hidden = true;
  event = shown;
  $("keep").hidden = $("share").hidden = !mine(shown.camera);
  $("keep").textContent = shown.kept ? "Kept" : "Keep";
  $("keep").setAttribute("aria-pressed", String(shown.kept));
}
