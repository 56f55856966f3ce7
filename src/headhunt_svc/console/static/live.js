// Keeps what a page shows up to date: the server says what has changed, and the page is asked for again.
const parts = () => [...document.querySelectorAll("[data-live]")];

/** Replaces the parts of this page that follow the data with those of the server's page; keeps what is selected. */
export async function refresh() {
  const answer = await fetch(location.href, { headers: { accept: "text/html" } });
  if (answer.redirected && new URL(answer.url).pathname === "/login") {
    location.assign(answer.url);
    return;
  }
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  document.querySelector("meta[name=csrf]").content = page.querySelector("meta[name=csrf]").content;
  for (const field of document.querySelectorAll("input[name=csrf]")) field.value = token();
  for (const part of parts()) {
    const fresh = page.getElementById(part.id);
    if (fresh && fresh.innerHTML !== part.innerHTML) part.replaceChildren(...fresh.childNodes);
  }
  document.dispatchEvent(new CustomEvent("refreshed"));
}

/** The token that says that a change comes from this page. */
export const token = () => document.querySelector("meta[name=csrf]").content;

/** Tells what was done, also to screen readers. */
export function say(text) {
  document.getElementById("live").textContent = text;
}

function follow() {
  const subjects = new Set(parts().map((part) => part.dataset.live));
  if (!subjects.size) return;
  const stream = new EventSource("/live");
  let due = 0;
  // All subjects come first, whenever the stream begins: the page may have been drawn before.
  stream.addEventListener("changed", (event) => {
    if (!subjects.has(event.data) || due) return;
    due = setTimeout(() => {
      due = 0;
      refresh();
    }, 300);
  });
  stream.addEventListener("open", () => say("live"));
  stream.addEventListener("error", () => say("not live: the console does not answer"));
  addEventListener("pagehide", () => stream.close());
}

follow();
