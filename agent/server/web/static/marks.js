// Keep, share and delete, for the event that plays; only the camera's owner gets the buttons.
import { $, api, pictures } from "./dom.js";
import { line, sent } from "./handover.js";

let event = null, mine = () => false;

/** `mine`: whether a camera's name is one of the reader's; `say`: where a sentence is shown; `leaving(event)`: it will be
    deleted, and what that returns is called when it is. */
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
  on("delete", async () => {
    if (!confirm(`Delete this event with its ${pictures(event.frames)}? Links to it end, too.`)) return;
    const left = options.leaving(event);
    await api(`/events/${event.id}`, { method: "DELETE" });
    left();
  });
}

export function showMarks(shown) {
  if (shown.id !== event?.id) $("shared-row").hidden = true;
  event = shown;
  const may = mine(shown.camera) && shown.state !== "deleted";
  for (const id of ["keep", "share", "delete"]) $(id).hidden = !may;
  const why = shown.kept ? "It is kept: press “Kept” first" : shown.state === "open" ? "It goes on" : "";
  $("delete").disabled = why !== "";
  $("delete").title = why;
  $("keep").textContent = shown.kept ? "Kept" : "Keep";
  $("keep").setAttribute("aria-pressed", String(shown.kept));
}
