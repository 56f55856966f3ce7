// Marks an event with one key: the selected one of the list, or the one of the page.
import { keyOf, select, selected, step } from "./keys.js";
import { refresh, say, token } from "./live.js";

const STATES = { c: "confirmed", f: "false_alarm", a: "acknowledged", u: "undo" };
const WORDS = { confirmed: "confirmed", false_alarm: "false alarm", acknowledged: "seen", undo: "undone" };
let last; // the event that was marked last on this page
const event = () => (selected() ?? document.querySelector(".event[data-event]"))?.dataset.event;

async function send(id, fields) {
  for (const attempt of [1, 2]) {
    const answer = await fetch(`/events/${id}/mark`, {
      method: "POST",
      headers: { "x-csrf-token": token(), accept: "text/plain" },
      body: new URLSearchParams(fields),
    });
    if (answer.ok) return "";
    if (answer.status !== 403 || attempt === 2) return await answer.text();
    await refresh(); // the console was started anew since this page was opened
  }
}

async function mark(id, state) {
  last = id;
  if (selected()) step(1); // at once: whoever types fast means the next one
  const problem = await send(id, { state });
  await refresh();
  say(problem ? `not kept: ${problem}` : WORDS[state]);
}

/** Takes the last mark back: in a list that of the event that was marked last, as another one is selected by now. */
async function undo() {
  const id = (selected() && last) || event();
  const problem = await send(id, { state: "undo" });
  await refresh();
  if (selected()) select(document.querySelector(`tr[data-event="${CSS.escape(id)}"]`));
  say(problem ? `not kept: ${problem}` : WORDS.undo);
}

document.addEventListener("keydown", (pressed) => {
  if (pressed.ctrlKey || pressed.metaKey || pressed.altKey || pressed.target.closest("input, textarea, select, dialog")) return;
  const key = keyOf(pressed);
  if (STATES[key] && event()) {
    pressed.preventDefault();
    if (STATES[key] === "undo") undo();
    else mark(event(), STATES[key]);
  } else if (key === "n") {
    const field = document.querySelector("textarea[name=note]");
    if (field) {
      pressed.preventDefault();
      field.focus();
    }
  }
});

for (const form of document.querySelectorAll("form.marks, form.note-form")) {
  form.addEventListener("submit", async (sent) => {
    sent.preventDefault();
    if (sent.submitter?.value) {
      await (sent.submitter.value === "undo" ? undo() : mark(event(), sent.submitter.value));
      return;
    }
    const problem = await send(event(), { state: "", note: form.elements.note.value });
    await refresh();
    say(problem ? `not kept: ${problem}` : "note kept");
  });
}
document.querySelector("textarea[name=note]")?.addEventListener("keydown", (pressed) => {
  if (pressed.key === "Enter" && (pressed.ctrlKey || pressed.metaKey)) pressed.target.form.requestSubmit();
});
