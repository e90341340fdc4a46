/* System health: the same page again every five seconds, while somebody looks at it. */
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const place = document.querySelector("[data-health]");
  if (!place) return;
  window.setInterval(async () => {
    if (document.hidden) return;
    try {
      const response = await fetch(place.dataset.health, { credentials: "same-origin" });
      const html = response.ok ? await response.text() : "";
      // A table that was scrolled sideways stays where it is.
      const scrolled = [...place.querySelectorAll(".tw-scroll")].map((box) => box.scrollLeft);
      if (html) place.innerHTML = html;
      place.querySelectorAll(".tw-scroll").forEach((box, index) => { box.scrollLeft = scrolled[index] || 0; });
    } catch (error) {
      // The server is away for a moment; the next look may find it.
    }
  }, 5000);
});
