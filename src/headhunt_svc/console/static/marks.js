// Marks an event with one key: the selected one of the list, or the one of the page.
import { selected, step } from "./keys.js";
import { refresh, say, token } from "./live.js";

const STATES = { c: "confirmed", f: "false_alarm", a: "acknowledged", u: "undo" };
const WORDS = { confirmed: "confirmed", false_alarm: "false alarm", acknowledged: "seen", undo: "undone" };
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
  const problem = await send(id, { state });
  if (problem) {
    say(`not kept: ${problem}`);
    return;
  }
  if (selected() && state !== "undo") step(1);
  await refresh();
  say(WORDS[state]);
}

document.addEventListener("keydown", (pressed) => {
  if (pressed.ctrlKey || pressed.metaKey || pressed.altKey || pressed.target.closest("input, textarea, select, dialog")) return;
  if (STATES[pressed.key] && event()) {
    pressed.preventDefault();
    mark(event(), STATES[pressed.key]);
  } else if (pressed.key === "n") {
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
      await mark(event(), sent.submitter.value);
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
