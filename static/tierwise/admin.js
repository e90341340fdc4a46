/* Small helpers of the console: questions before a change, and pages that wait for a worker. */
"use strict";

document.addEventListener("submit", (event) => {
  const question = event.target.dataset.confirm;
  if (question && !window.confirm(question)) event.preventDefault();
});

/** Ask `url` again and again while `more(answer)` says so; slower when the server does not answer. */
function twPoll(url, { every = 1000, more, failed }) {
  let wait = every;
  async function ask() {
    let again = true;
    try {
      const response = await fetch(url, { headers: { Accept: "application/json" }, credentials: "same-origin" });
      if (!response.ok) throw new Error(String(response.status));
      wait = every;
      again = more(await response.json());
    } catch (error) {
      wait = Math.min(wait * 2, 15000);
      if (failed) failed(error);
    }
    if (again) window.setTimeout(ask, wait);
  }
  window.setTimeout(ask, every);
}

/* A page that shows a result which a worker is still making: reload once it is there. */
document.addEventListener("DOMContentLoaded", () => {
  const waiting = document.querySelector("[data-wait-url]");
  if (!waiting) return;
  twPoll(waiting.dataset.waitUrl, {
    more(answer) {
      if (!answer.waiting) window.location.reload();
      return answer.waiting;
    },
  });
});

/* A panel whose content takes a moment to work out: the page is there first. 202 says that a worker is still at it. */
const TW_PANEL_EVERY = 500, TW_PANEL_PATIENCE = 20000;

async function twPanel(panel) {
  const patience = Date.now() + TW_PANEL_PATIENCE;
  while (Date.now() < patience) {
    const response = await fetch(panel.dataset.panelUrl, { credentials: "same-origin" });
    if (!response.ok) break;
    if (response.status !== 202) return response.text();
    await new Promise((resolve) => window.setTimeout(resolve, TW_PANEL_EVERY));
  }
  throw new Error("no answer");
}

document.addEventListener("DOMContentLoaded", () => {
  for (const panel of document.querySelectorAll("[data-panel-url]")) {
    twPanel(panel)
      .then((html) => { panel.innerHTML = html; })
      .catch(() => {
        const status = panel.querySelector("[role=status]") || panel;
        status.textContent = panel.dataset.panelFailed;
      })
      .finally(() => panel.removeAttribute("aria-busy"));
  }
});
