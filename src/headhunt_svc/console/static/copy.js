// Copies a command that stands on the page.
import { say } from "./live.js";

function show() {
  for (const button of document.querySelectorAll("[data-copy]")) button.hidden = false;
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const code = button.parentElement.querySelector("code");
  getSelection().selectAllChildren(code);
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(code.textContent);
    say("copied");
  } else {
    say("marked: copy it with Ctrl+C");
  }
});
document.addEventListener("refreshed", show);
show();
