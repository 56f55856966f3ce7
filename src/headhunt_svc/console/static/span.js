// Marks a span on a camera's timeline with the pointer; the form below takes it, and can be typed into as well.
const box = document.querySelector("[data-span]");
const chart = box.querySelector("svg");
const [start, stop] = [box.dataset.start, box.dataset.stop].map((text) => new Date(text).getTime());
const fields = ["start", "stop"].map((name) => document.querySelector(`input[name=${name}]`));
const width = chart.viewBox.baseVal.width;
const mark = document.createElementNS("http://www.w3.org/2000/svg", "rect");
for (const [name, value] of Object.entries({ class: "chosen", y: 8, height: 148, width: 0 })) mark.setAttribute(name, value);
chart.append(mark);

/** A time as the form has it: in the camera's zone, to the second. */
function local(time) {
  const options = { timeZone: box.dataset.zone, hourCycle: "h23", year: "numeric", month: "2-digit", day: "2-digit",
    hour: "2-digit", minute: "2-digit", second: "2-digit" };
  const part = Object.fromEntries(new Intl.DateTimeFormat("en", options).formatToParts(time).map((p) => [p.type, p.value]));
  return `${part.year}-${part.month}-${part.day}T${part.hour}:${part.minute}:${part.second}`;
}

function share(event) {
  const frame = chart.getBoundingClientRect();
  return Math.min(Math.max((event.clientX - frame.left) / frame.width, 0), 1);
}

let from = null;
chart.addEventListener("pointerdown", (event) => {
  if (event.button !== 0 || event.target.closest("a")) return;
  from = share(event);
  chart.setPointerCapture(event.pointerId);
  event.preventDefault();
});
chart.addEventListener("pointermove", (event) => {
  if (from === null) return;
  const ends = [from, share(event)].sort((a, b) => a - b);
  mark.setAttribute("x", ends[0] * width);
  mark.setAttribute("width", (ends[1] - ends[0]) * width);
  ends.forEach((end, i) => { fields[i].value = local(Math.round((start + end * (stop - start)) / 1000) * 1000); });
});
chart.addEventListener("pointerup", () => {
  from = null;
});
