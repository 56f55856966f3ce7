// Keys that every page knows: pages, rows, the list of keys.
const PAGES = { s: "/", e: "/events", d: "/drift" };
const rows = () => [...document.querySelectorAll("tr[data-row]")];
let place = 0; // where the selected row was, for when it is gone
let name = document.querySelector("tr.selected")?.dataset.row;

/** The key of an event, whether Caps Lock is on or not. */
export const keyOf = (event) => (event.key.length === 1 ? event.key.toLowerCase() : event.key);

export const selected = () => document.querySelector("tr.selected");

/** Selects a row, and brings it into view. */
export function select(row) {
  if (!row) return;
  selected()?.classList.remove("selected");
  row.classList.add("selected");
  place = rows().indexOf(row);
  name = row.dataset.row;
  row.querySelector("[data-open]")?.focus({ preventScroll: true });
  row.scrollIntoView({ block: "nearest" });
}

/** Selects the row that is so many further. */
export function step(by) {
  const all = rows();
  const now = all.indexOf(selected());
  select(all[Math.min(Math.max(now < 0 ? 0 : now + by, 0), all.length - 1)]);
}

/** Selects the next row; behind the last one comes the next page. */
function next() {
  const older = document.querySelector(".paging a[rel=next]");
  if (older && rows().at(-1) === selected()) older.click();
  else step(1);
}

document.addEventListener("refreshed", () => {
  const all = rows();
  if (!all.length || name === undefined) return;
  all.forEach((row) => row.classList.remove("selected"));
  const row = all.find((one) => one.dataset.row === name) ?? all[Math.min(place, all.length - 1)];
  row.classList.add("selected");
  if (document.activeElement === document.body) row.querySelector("[data-open]")?.focus({ preventScroll: true });
  name = row.dataset.row;
});

/** Is somebody writing? Then keys are letters. */
const isWriting = (target) => target.closest?.("input, textarea, select, dialog, [contenteditable]");

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && isWriting(event.target)) event.target.blur();
  if (event.ctrlKey || event.metaKey || event.altKey || isWriting(event.target)) return;
  const key = keyOf(event);
  if (key === "?") document.getElementById("help").showModal();
  else if (PAGES[key]) location.assign(PAGES[key]);
  else if (rows().length && (key === "j" || key === "ArrowDown")) next();
  else if (rows().length && (key === "k" || key === "ArrowUp")) step(-1);
  else if (key === "j") document.querySelector("main a[rel=next]")?.click();
  else if (key === "k") history.back();
  else if (event.key === "Enter" && event.target === document.body) selected()?.querySelector("[data-open]")?.click();
  else return;
  event.preventDefault();
});

document.addEventListener("focusin", (event) => {
  const row = event.target.closest("tr[data-row]");
  if (row && row !== selected()) {
    selected()?.classList.remove("selected");
    row.classList.add("selected");
    place = rows().indexOf(row);
    name = row.dataset.row;
  }
});

for (const button of document.querySelectorAll("[data-help]")) {
  button.hidden = false;
  button.addEventListener("click", () => document.getElementById("help").showModal());
}
for (const hint of document.querySelectorAll("[data-hint]")) hint.hidden = false;
