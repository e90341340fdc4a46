/* Draws every <canvas data-chart="id"> from the JSON in the element with that id. */
"use strict";

const TwCharts = (() => {
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--tw-${name}`).trim() || name;

  function toned(dataset) {
    const tone = dataset.tone;
    delete dataset.tone;
    const color = Array.isArray(tone) ? tone.map(css) : css(tone || "primary");
    return { borderWidth: dataset.showLine ? 2 : 0, borderRadius: 3, maxBarThickness: 48, ...dataset, borderColor: color, backgroundColor: color };
  }

  function options(config) {
    const percent = (value) => `${Math.round(value * 100)} %`;
    const axis = (given = {}) => ({
      ...given,
      grid: { color: css("line") },
      ticks: { color: css("quiet"), ...(whole ? { precision: 0 } : {}), ...(config.percent ? { callback: percent } : {}) },
      title: { color: css("quiet"), ...(given.title || {}) },
    });
    const given = config.options || {};
    const scales = given.scales || {};
    /* Of customers there are no halves: counts have whole numbers at the axis. */
    const whole = config.data.datasets.every((set) => set.data.every((value) => Number.isInteger(value))) && !config.percent;
    const many = config.data.datasets.length > 1;
    return {
      ...given,
      responsive: true,
      maintainAspectRatio: false,
      animation: false,
      scales: { x: axis(scales.x), y: axis(scales.y) },
      plugins: { legend: { display: many, labels: { color: css("quiet"), boxHeight: 2 } }, ...(given.plugins || {}) },
    };
  }

  function draw(canvas, config) {
    config.data.datasets = config.data.datasets.map(toned);
    return new Chart(canvas, { type: config.type, data: config.data, options: options(config) });
  }

  document.addEventListener("DOMContentLoaded", () => {
    for (const canvas of document.querySelectorAll("canvas[data-chart]")) {
      const source = document.getElementById(canvas.dataset.chart);
      if (source) draw(canvas, JSON.parse(source.textContent));
    }
  });
  return { draw, css };
})();
