// Keys of the curator's room: j and k go through what is listed, digits and letters press what bears them.
"use strict";

const rows = () => [...document.querySelectorAll("main [data-row]")];
const isTyping = (at) => at.closest("input:not([type=checkbox], [type=radio]), select, textarea") !== null;

function go(step) {
  const all = rows();
  if (!all.length) return false;
  const here = all.findIndex((row) => row.contains(document.activeElement));
  const next = all[here < 0 ? (step > 0 ? 0 : all.length - 1) : Math.min(Math.max(here + step, 0), all.length - 1)];
  next.focus();
  next.scrollIntoView({ block: "nearest" });
  return true;
}

function press(key) {
  const row = rows().find((each) => each.contains(document.activeElement));
  const wanted = `[data-key="${CSS.escape(key)}"]`;
  const found = row?.querySelector(wanted) ?? (/\d/.test(key) && rows().length ? null : document.querySelector(wanted));
  if (!found) return false;
  if (found.matches("input")) found.focus();
  else found.click();
  return true;
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
  if (event.key === "Escape" && isTyping(event.target)) {
    event.target.blur();
    (event.target.closest("[data-row]") ?? document.getElementById("main")).focus();
    return;
  }
  if (isTyping(event.target) || event.key.length !== 1) return;
  const key = event.key.toLowerCase();
  const all = document.querySelector("[data-all]");
  let done = false;
  if ((key === "j" || key === "k") && rows().length) done = go(key === "j" ? 1 : -1);
  else if (key === "a" && all) { all.click(); done = true; }
  else done = press(key);
  if (done) event.preventDefault();
});

// One box ticks all boxes of a name.
document.addEventListener("change", (event) => {
  const name = event.target.dataset.all;
  if (!name) return;
  document.querySelectorAll(`input[name="${CSS.escape(name)}"]`).forEach((box) => { box.checked = event.target.checked; });
});
