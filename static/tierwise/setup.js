/* Setting a connection up: copy buttons, a test event, and the way of a message step by step. */
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const setup = document.querySelector("[data-setup]");
  // The page that answers a form shows a secret once: reloading it must not send the form again.
  if (setup && window.location.pathname !== setup.dataset.setup) window.history.replaceState(null, "", setup.dataset.setup);

  async function copy(text) {
    if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text);
    const box = document.createElement("textarea");
    box.value = text;
    box.className = "tw-sr";
    document.body.append(box);
    box.select();
    document.execCommand("copy");
    box.remove();
  }

  for (const button of document.querySelectorAll("[data-copy], [data-copy-all]")) {
    button.addEventListener("click", async () => {
      const texts = button.dataset.copy
        ? [document.getElementById(button.dataset.copy)]
        : [...document.querySelectorAll(button.dataset.copyAll)];
      await copy(texts.map((one) => one.textContent).join("\n"));
      const said = button.textContent;
      button.textContent = button.dataset.copied;
      window.setTimeout(() => { button.textContent = said; }, 1500);
      button.focus();
    });
  }

  const watch = document.querySelector("[data-watch]");
  if (!watch) return;
  const list = watch.querySelector("[data-way]");
  const hint = watch.querySelector("[data-way-hint]");
  const waiting = watch.querySelector("[data-waiting]");
  const problem = watch.querySelector("[data-try-problem]");
  let asked = 0;

  function draw(way) {
    const rows = way.steps.map((step) => {
      const row = document.createElement("li");
      row.className = `tw-${step.state}`;
      const label = document.createElement("span");
      label.className = "tw-strong";
      label.textContent = step.label;
      const took = document.createElement("span");
      took.className = "tw-label";
      took.textContent = step.took;
      const text = document.createElement("div");
      const words = step.link ? document.createElement("a") : document.createElement("span");
      if (step.link) words.href = step.link;
      words.textContent = step.text;
      text.append(words);
      row.append(label, " ", took, text);
      return row;
    });
    const now = JSON.stringify(way.steps);
    if (list.dataset.drawn !== now) {
      list.replaceChildren(...rows);
      list.dataset.drawn = now;
    }
    hint.textContent = way.hint;
    hint.hidden = !way.hint;
  }

  /** Follow one message until nothing more can happen to it. A newer question ends an older one. */
  function follow(query) {
    const mine = (asked += 1);
    twPoll(`${watch.dataset.watch}?${query}`, {
      every: query.startsWith("after=") ? 1000 : 400,
      more(way) {
        if (mine !== asked) return false;
        if (way.message) {
          if (waiting) waiting.hidden = true;
          draw(way);
          if (query.startsWith("after=")) { follow(`message=${way.message}`); return false; }
        }
        // The rest of a message's page tells how it ended; a page of one that is over follows nothing.
        if (way.over && "follow" in watch.dataset) window.location.reload();
        return !way.over;
      },
    });
  }

  const form = watch.querySelector("[data-try]");
  if (form) {
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const button = form.querySelector("button");
      button.disabled = true;
      problem.hidden = true;
      try {
        const response = await fetch(form.action, {
          method: "POST", body: new FormData(form), headers: { Accept: "application/json" }, credentials: "same-origin",
        });
        const answer = await response.json();
        if (answer.problem) {
          problem.textContent = answer.problem;
          problem.hidden = false;
        } else {
          follow(`message=${answer.message}`);
        }
      } catch (error) {
        form.submit();
        return;
      }
      button.disabled = false;
      button.focus();
    });
  }
  const given = new URLSearchParams(window.location.search).get("message");
  if (setup) follow(given ? `message=${given}` : `after=${watch.dataset.last}`);
  else if ("follow" in watch.dataset) follow("");
});
