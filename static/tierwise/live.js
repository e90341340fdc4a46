/* A run page: progress bar, note and the losses so far, asked for every second until the run is over. */
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const page = document.querySelector("[data-live-url]");
  if (!page) return;
  const part = (name) => page.querySelector(`[data-live="${name}"]`);
  const place = page.querySelector("[data-live-charts]");
  const charts = new Map();

  function chartFor(learner) {
    if (charts.has(learner)) return charts.get(learner);
    const title = document.createElement("h3");
    title.textContent = learner;
    const canvas = document.createElement("canvas");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", learner);
    const box = document.createElement("div");
    box.className = "tw-chart";
    box.style.height = "220px";
    box.append(canvas);
    const cell = document.createElement("div");
    cell.append(title, box);
    place.append(cell);
    charts.set(learner, { canvas, chart: null, drawn: "" });
    return charts.get(learner);
  }

  /** Draw again only what grew. */
  function drawLosses(losses) {
    for (const loss of place ? losses || [] : []) {
      const slot = chartFor(loss.learner);
      const now = JSON.stringify(loss);
      if (slot.drawn === now) continue;
      if (slot.chart) slot.chart.destroy();
      slot.drawn = now;
      slot.chart = TwCharts.draw(slot.canvas, {
        type: "scatter",
        data: {
          datasets: loss.lines.filter((line) => line.points.length).map((line) => ({
            label: line.label, data: line.points, tone: line.tone, showLine: true,
            borderDash: line.dashed ? [4, 4] : [], pointRadius: 2,
          })),
        },
        options: {
          scales: {
            x: { type: "linear", title: { display: true, text: loss.x } },
            y: { type: "linear", title: { display: true, text: loss.y } },
          },
        },
      });
    }
  }

  function show(live) {
    const percent = Math.round(live.progress * 100);
    const bar = part("bar");
    bar.setAttribute("aria-valuenow", percent);
    bar.firstElementChild.style.width = `${percent}%`;
    part("percent").textContent = `${percent} %`;
    part("state").textContent = live.state_label;
    part("note").textContent = live.note;
    part("error").textContent = live.error;
    part("error").hidden = !live.error;
    part("took").textContent = live.took;
    if (live.counts && part("counts")) {
      for (const [index, row] of [...part("counts").querySelectorAll("dd")].entries()) row.textContent = live.counts[index][1];
    }
    drawLosses(live.losses);
  }

  const first = JSON.parse(document.getElementById("live-now").textContent);
  show(first);
  if (first.over) return;
  twPoll(page.dataset.liveUrl, {
    more(live) {
      show(live);
      // The page of a finished run shows more than its progress.
      if (live.over) window.location.reload();
      return !live.over;
    },
  });
});
