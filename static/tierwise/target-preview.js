/* Counts of a target as its form stands now; the page stays as it is. */
"use strict";

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-target-preview]");
  if (!button) return;
  const form = document.querySelector("#target_form") || document.querySelector("form[method=post]");
  const place = document.querySelector("[data-target-counts]");
  const given = new FormData(form);
  given.set("_target", button.dataset.target);
  button.disabled = true;
  place.setAttribute("aria-busy", "true");
  try {
    const response = await fetch(button.dataset.targetPreview, { method: "POST", body: given, credentials: "same-origin" });
    if (!response.ok) throw new Error(String(response.status));
    place.innerHTML = await response.text();
  } catch {
    place.textContent = button.dataset.failed;
  } finally {
    button.disabled = false;
    place.removeAttribute("aria-busy");
  }
});
