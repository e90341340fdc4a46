/* A slider over the stored chances: how many a line reaches, finds and bothers. The table comes with the page. */
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const panel = document.querySelector("[data-threshold]");
  if (!panel) return;
  const table = JSON.parse(document.getElementById("threshold-table").textContent);
  const slider = panel.querySelector("input[type=range]");
  const say = (name, value) => { panel.querySelector(`[data-${name}]`).textContent = value; };
  const cost = (name) => Number(panel.dataset[name].replace(",", "."));
  const language = document.documentElement.lang || undefined;
  const whole = (value) => Math.round(value).toLocaleString(language);
  const cases = table.length ? table[0][2] : 0;
  const currency = panel.querySelector("[data-gain]").textContent.replace(/[-\d.,\s\u00a0\u202f\u2212]/g, "");

  slider.addEventListener("input", () => {
    const line = Number(slider.value);
    const step = table.find((row) => row[0] >= line - 1e-9) || [line, 0, 0];
    const [, reached, caught] = step;
    say("line", line.toFixed(3));
    say("reached", whole(reached));
    say("caught", whole(caught));
    say("bothered", whole(reached - Math.round(caught)));
    say("missed", whole(Math.round(cases) - Math.round(caught)));
    const gain = caught * cost("worth") * cost("success") - reached * cost("contact");
    say("gain", `${gain.toLocaleString(language, { minimumFractionDigits: 2, maximumFractionDigits: 2 })}\u00a0${currency}`);
    const list = panel.querySelector("[data-list]");
    list.href = `${list.href.split("?")[0]}?at=${line.toFixed(3)}`;
  });
});
