/* A run page: progress bar, note and the loss of each epoch, asked for every second until the run is over. */
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const page = document.querySelector("[data-live-url]");
  if (!page) return;
  const part = (name) => page.querySelector(`[data-live="${name}"]`);
  const canvas = page.querySelector("canvas[data-live-chart]");
  const labels = canvas ? JSON.parse(canvas.dataset.labels) : {};
  const tones = ["primary", "teal", "amber", "rose", "blue", "slate"];
  let chart = null;

  const finite = (value) => typeof value === "number" && Number.isFinite(value);

  /** One pair of lines (training, validation) a learner. */
  function series(epochs) {
    const learners = [...new Set(epochs.map((epoch) => epoch.estimator))];
    return learners.flatMap((learner, index) =>
      [["train_loss", true], ["valid_loss", false]].map(([key, dashed]) => ({
        label: `${learner}: ${labels[key]}`,
        data: epochs.filter((e) => e.estimator === learner && finite(e[key])).map((e) => ({ x: e.epoch, y: e[key] })),
        tone: tones[index % tones.length],
        showLine: true,
        borderDash: dashed ? [4, 4] : [],
        pointRadius: 2,
      }))
    ).filter((line) => line.data.length);
  }

  function drawEpochs(epochs) {
    if (!canvas || !epochs || !epochs.length) return;
    canvas.closest("[data-live-card]").hidden = false;
    if (chart) chart.destroy();
    chart = TwCharts.draw(canvas, {
      type: "scatter",
      data: { datasets: series(epochs) },
      options: {
        scales: {
          x: { type: "linear", title: { display: true, text: labels.epoch } },
          y: { type: "linear", title: { display: true, text: labels.loss } },
        },
      },
    });
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
    if (live.seconds !== null) part("seconds").textContent = `${Math.floor(live.seconds / 60)} min ${live.seconds % 60} s`;
    if (live.counts && part("counts")) {
      for (const [index, row] of [...part("counts").querySelectorAll("dd")].entries()) row.textContent = live.counts[index][1];
    }
    drawEpochs(live.epochs);
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
