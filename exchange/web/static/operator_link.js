// Copies the one-time link where the browser lets a page do so; else it is chosen, to be copied by hand.
"use strict";

const link = document.getElementById("link");
const copy = document.getElementById("copy");
const copied = document.getElementById("copied");
if (link && copy) {
  link.addEventListener("focus", () => link.select());
  copy.hidden = !navigator.clipboard;
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(link.value);
      copied.textContent = copied.dataset.done;
    } catch {
      link.focus();
    }
  });
}
