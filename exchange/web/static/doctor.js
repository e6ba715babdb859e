// What the doctor's pages do with a script: less typing, nothing else; each of them works without it as well.
"use strict";

const form = document.querySelector("form#ask");
if (form) {
  const asks = JSON.parse(document.getElementById("asks").textContent);
  const fitRow = (row) => {
    const code = row.querySelector("[name=item]").value.trim().split(/\s+/)[0].toUpperCase();
    const known = asks[code];
    const side = row.querySelector(".side"), part = row.querySelector(".part");
    // free words may mean any item: then both can be said
    side.hidden = known ? !known[0] : !row.querySelector("[name=item]").value;
    part.hidden = known ? !known[1] : !row.querySelector("[name=item]").value;
    side.querySelector("select").required = Boolean(known && known[0]);
  };
  const rows = () => form.querySelectorAll("[data-order]");
  rows().forEach(fitRow);
  form.addEventListener("input", (event) => {
    const row = event.target.closest("[data-order]");
    if (row) fitRow(row);
  });
  const country = form.querySelector("[name=country]").closest(".field");
  const fitCountry = () => { country.hidden = form.querySelector("[name=id_type]").value !== "03"; };
  form.querySelector("[name=id_type]").addEventListener("change", fitCountry);
  fitCountry();
  // A card reader ends with Enter, and so does a hand in a hurry: it goes on to the next field and asks nothing yet.
  form.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.isComposing || !event.target.matches("input, select")) return;
    event.preventDefault();
    const fields = [...form.querySelectorAll("input:not([type=hidden]), select, button.main")].filter((each) => each.checkVisibility());
    const at = fields.indexOf(event.target);
    const next = event.target.name === "id_number" ? form.querySelector("[name=item]") : event.target.closest("[data-order]")
      ? fields.slice(at + 1).find((each) => each.closest("[data-order]") === event.target.closest("[data-order]") && each.name !== "number") || form.querySelector("button.main")
      : fields[at + 1];
    if (next) next.focus();
  });
}

// A reason that needs words says so before it is sent.
document.addEventListener("change", (event) => {
  if (!event.target.matches("[data-reason]")) return;
  const chosen = event.target.selectedOptions[0];
  event.target.form.querySelector("[name=reason_text]").required = Boolean(chosen && "needsText" in chosen.dataset);
});

const copy = document.querySelector("[data-copy]");
if (copy && navigator.clipboard) {
  copy.hidden = false;
  copy.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById(copy.dataset.copy).value);
    document.querySelector("[data-copied]").hidden = false;
  });
}
