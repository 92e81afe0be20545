// A camera's settings, changed where it stands in the list: all that the API's PUT takes.
import { api, day, el, minute } from "./dom.js";
import { sent } from "./handover.js";

const DAY_S = 86400;
const option = (value, text, chosen) => el("option", { value, selected: value === chosen }, text);
const field = (label, ...input) => el("label", {}, label, " ", ...input);
const number = (name, value, least, hint) => el("input", { name, type: "number", min: least, step: "any", class: "short",
  placeholder: hint, value: value ?? "" });

/** The form for camera `c` as the API tells it; `saved` is called afterwards, and `done` when nothing is wanted. */
export function editor(c, saved, done) {
  const s = c.settings, trouble = el("p", { class: "error", role: "alert", hidden: true });
  const until = s.ends_ms && `${day(s.ends_ms)} ${minute(s.ends_ms)}`;
  const form = el("form", { class: "row", "aria-label": `Settings of ${c.name}` },
    field("It ends", el("select", { name: "ends" }, ...(until ? [option("same", `as now, ${until}`, "same")] : []),
      option("", "never", until ? "same" : ""), option("3600", "in an hour"), option(String(DAY_S), "in a day"), option(String(7 * DAY_S), "in a week"))),
    field("and then", el("select", { name: "at_end" }, option("burn", "everything is erased", s.at_end), option("keep", "its recordings stay", s.at_end))),
    field("Delete recordings after", number("retention_days", s.retention_days, 0.01, "server's"), " days"),
    field("single pictures after", number("stills_days", s.stills_days, 0.01, "same"), " days"),
    field("Keep at most", number("quota", s.quota_bytes && s.quota_bytes / 1e9, 0.01, "∞"), " GB"),
    field("Pictures without an agent make events by", el("select", { name: "events" }, option("auto", "what suits", s.events),
      option("motion", "motion", s.events), option("pause", "pauses", s.events))),
    field("a pause is", number("pause_s", s.pause_s, 1, "10"), " s"),
    trouble, el("span", { class: "grow" }),
    el("button", { type: "button", class: "quiet", onclick: done }, "Cancel"), el("button", { type: "submit" }, "Save"));
  form.addEventListener("submit", async (e) => {
    e.preventDefault();
    try {
      await api(`/cameras/${c.name}`, sent("PUT", changed(c, new FormData(form))));
      await saved();
    } catch (error) {
      trouble.textContent = error.message;
      trouble.hidden = false;
    }
  });
  return form;
}

/** What the form says, as the API takes it: what is left out gets its default. */
function changed(c, data) {
  const body = { name: c.name, at_end: data.get("at_end"), events: data.get("events") };
  for (const name of ["retention_days", "stills_days", "pause_s"]) if (data.get(name)) body[name] = Number(data.get(name));
  if (data.get("quota")) body.quota_bytes = Math.round(Number(data.get("quota")) * 1e9);
  const ends = data.get("ends");
  if (ends === "same") body.ends_s = Math.max(1, (c.settings.ends_ms - Date.now()) / 1000);
  else if (ends) body.ends_s = Number(ends);
  if (c.settings.pull) body.pull = c.settings.pull; // told without its password: the server keeps the one it has
  return body;
}
