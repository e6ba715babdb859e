// Has the middle of the page fetched again every five seconds: not while nobody looks, not while it is paused, and not
// under somebody's hands. A screen reader is told when it stops and goes on, and nothing of each turn.
"use strict";

const now = document.getElementById("now");
const pause = document.getElementById("pause");
const said = document.getElementById("turning-said");
let paused = false;

function say(text) {
  if (said.textContent !== text) said.textContent = text;
}

function isHeld() {
  const chosen = document.getSelection();
  const marked = chosen && !chosen.isCollapsed && now.contains(chosen.anchorNode);
  return marked || now.contains(document.activeElement);
}

function turn() {
  if (!document.hidden && !paused && !isHeld()) htmx.trigger(now, "turn");
}

if (now && pause) {
  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    say(paused ? said.dataset.paused : "");
    if (!paused) turn();
  });
  setInterval(turn, 5000);
  document.addEventListener("visibilitychange", turn);
  for (const lost of ["htmx:sendError", "htmx:responseError", "htmx:timeout"]) {
    now.addEventListener(lost, () => say(said.dataset.lost));
  }
  now.addEventListener("htmx:afterSwap", () => { if (!paused) say(""); });
}
