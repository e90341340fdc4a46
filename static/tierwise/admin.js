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

/* On a telephone each cell of a list says its column. The theme calls the first one a tick box, also where it is none. */
document.addEventListener("DOMContentLoaded", () => {
  const heading = document.querySelector("#result_list thead th:first-child");
  if (!heading || heading.querySelector("input")) return;
  const title = heading.textContent.trim();
  for (const cell of document.querySelectorAll("#result_list tbody tr > :first-child[data-label]")) cell.dataset.label = title;
});

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

/* What scrolls by itself can be reached with the Tab key and then scrolled with the arrows; what fits is no stop on the way. */
function twReachable(box) {
  const scrolls = box.scrollWidth > box.clientWidth + 1 || box.scrollHeight > box.clientHeight + 1;
  const named = box.closest("section, [role=region]")?.querySelector("h2, h3")?.textContent;
  if (scrolls && !box.querySelector("a, button, input, select, textarea")) {
    box.tabIndex = 0;
    box.setAttribute("role", "group");
    box.setAttribute("aria-label", named || document.title);
  } else if (box.getAttribute("role") === "group") {
    box.removeAttribute("tabindex");
    box.removeAttribute("role");
    box.removeAttribute("aria-label");
  }
}

const TW_SCROLLERS = ".tw-scroll, pre";
document.addEventListener("DOMContentLoaded", () => {
  const sizes = new ResizeObserver((entries) => entries.forEach((entry) => twReachable(entry.target.closest(TW_SCROLLERS))));
  const watch = (root) => root.querySelectorAll(`${TW_SCROLLERS}, .tw-scroll > *`).forEach((box) => sizes.observe(box));
  watch(document);
  new MutationObserver((changes) => {
    for (const change of changes) for (const node of change.addedNodes) if (node.querySelectorAll && node.parentNode) watch(node.parentNode);
  }).observe(document.body, { childList: true, subtree: true });
  /* Django's two-column chooser names its hints without saying what they are. */
  window.addEventListener("load", () => {
    for (const hint of document.querySelectorAll(".help-tooltip[aria-label]")) hint.setAttribute("role", "img");
  });
});

/* The theme's own buttons that are no buttons (the person's menu, the navigation of a telephone): the keyboard reaches them. */
const TW_NATIVE = "a[href], button, input, select, textarea, summary, label";

function twButton(box, words) {
  const icon = box.classList.contains("material-symbols-outlined");
  const sign = icon ? box.textContent.trim() : "";
  const person = box.querySelector(".truncate");
  const said = { dock_to_right: words.navigation, close: words.close }[sign] || box.title || (person && box.closest("[x-data*=openUserLinks]") ? `${words.account}: ${person.textContent.trim()}` : "");
  box.tabIndex = 0;
  box.setAttribute("role", "button");
  if (said) box.setAttribute("aria-label", said);
  box.addEventListener("keydown", (event) => {
    if (event.target !== box || (event.key !== "Enter" && event.key !== " ")) return;
    event.preventDefault();
    box.click();
  });
}

document.addEventListener("DOMContentLoaded", () => {
  const words = document.querySelector("[data-tw-words]")?.dataset || {};
  for (const box of document.querySelectorAll("[x-on\\:click]")) {
    if (!box.matches(TW_NATIVE) && !box.querySelector(TW_NATIVE) && (box.textContent.trim() || box.title)) twButton(box, words);
  }
  /* Pictures made of letters are read out as words otherwise. */
  for (const icon of document.querySelectorAll(".material-symbols-outlined:not([role])")) {
    const owner = icon.closest("a, button, [role=button]");
    const named = !owner || owner.hasAttribute("aria-label") || owner.title || owner.textContent.trim() !== icon.textContent.trim();
    if (named) icon.setAttribute("aria-hidden", "true");
  }
});
