// What every page does with a script; each page works without it as well.
"use strict";

// The secret of a one-time link stands after "#", which is sent to no server; from here on it stands nowhere but in the form.
const first = document.querySelector("form#first input[name=link]");
if (first && location.hash.length > 1) {
  first.value = location.hash.slice(1);
  history.replaceState(null, "", location.pathname);
  first.closest(".field").hidden = true;
  document.querySelector("form#first input[name=password]").focus();
}

// A form is sent once: a second click while its answer is on the way does nothing.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (event.defaultPrevented || form.method !== "post") return;
  if (form.dataset.sent) event.preventDefault();
  form.dataset.sent = "yes";
});
addEventListener("pageshow", () => document.querySelectorAll("form[data-sent]").forEach((form) => delete form.dataset.sent));

// htmx sends what a form would: the token of the page that asks.
document.addEventListener("htmx:configRequest", (event) => {
  const token = document.querySelector("input[name=csrf]");
  if (token) event.detail.headers["X-CSRF-Token"] = token.value;
});
// What is refused is shown where it was asked for, not swallowed.
document.addEventListener("htmx:beforeSwap", (event) => {
  const status = event.detail.xhr.status;
  if (status === 409 || status === 422) event.detail.shouldSwap = true;
});
