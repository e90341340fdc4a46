/* What stands below the conditions: whom the rule reaches, who they are besides, one customer, and the rule as text. */
"use strict";

TwRule.reachView = (builder, answer) => {
  const { element } = TwRule;
  const most = Math.max(1, ...answer.tiers.map((tier) => tier.count));
  const bars = answer.tiers.flatMap((tier) => [
    element("span", {}, tier.label),
    element("div", { style: `width:${(100 * tier.count) / most}%`, "aria-hidden": "true" }),
    element("span", { class: "tw-number" }, tier.shown),
  ]);
  const sample = answer.sample.flatMap((customer, index) => [index ? ", " : "", element("a", { href: customer.url, class: "tw-link", target: "_blank", rel: "noopener" }, customer.reference)]);
  builder.reach.replaceChildren(
    element("div", { class: "tw-figure", "data-reach": "count", "data-final": String(answer.final) }, answer.count),
    element("div", { class: "tw-hint" }, answer.sentence),
    answer.final ? "" : element("div", { class: "tw-hint" }, builder.t("counting")),
    bars.length ? element("div", { class: "tw-reach-bars" }, ...bars) : "",
    sample.length ? element("div", { class: "tw-hint" }, `${builder.t("for_example")} `, ...sample) : ""
  );
};

/** Overlap with segments and spreads of features; kept from the quick look when everybody is counted. */
TwRule.besideView = (builder, answer) => {
  const { element } = TwRule;
  const place = builder.root.querySelector("[data-rule-beside]");
  if (!place || answer.exact) return;
  const overlaps = answer.overlaps.flatMap((one) => [
    element("span", {}, one.name),
    element("div", { style: `width:${100 * one.share}%`, "aria-hidden": "true" }),
    element("span", { class: "tw-number" }, `${one.of_draft} / ${one.of_segment}`),
  ]);
  const spreads = answer.spreads.map((spread) => element("section", { class: "tw-spread" },
    element("h4", { class: "tw-label" }, spread.label),
    element("div", { class: "tw-reach-bars" }, ...spread.bins.flatMap((bin) => [
      element("span", {}, bin.label),
      element("div", { class: "tw-pair", "aria-hidden": "true" }, element("i", { style: `width:${100 * bin.share}%` }), element("b", { style: `width:${100 * bin.all}%` })),
      element("span", { class: "tw-number" }, `${bin.shown} / ${bin.shown_all}`),
    ]))));
  place.replaceChildren(...(spreads.length ? [element("details", { class: "tw-beside", open: place.querySelector("details")?.open ?? false },
    element("summary", {}, builder.t("also_in")),
    overlaps.length ? element("p", { class: "tw-hint" }, builder.t("overlap")) : "",
    overlaps.length ? element("div", { class: "tw-reach-bars" }, ...overlaps) : "",
    element("p", { class: "tw-hint" }, builder.t("compare")),
    element("div", { class: "tw-spreads" }, ...spreads))] : []));
};

/** A customer's number, and what every condition says of them. */
TwRule.testView = (builder) => {
  const { element } = TwRule;
  const place = builder.root.querySelector("[data-rule-test]");
  if (!place) return;
  const number = element("input", { type: "text", "aria-label": builder.t("customer_number"), placeholder: builder.t("customer_number"), "data-key": "test:number" });
  const found = element("div", { "aria-live": "polite", "data-test-verdict": "" });
  const ask = async () => {
    if (!number.value.trim()) return;
    const answer = await builder.ask({ ...builder.draft(), customer: number.value.trim() });
    found.replaceChildren(...TwRule.verdictOf(builder, answer));
  };
  number.addEventListener("keydown", (event) => { if (event.key === "Enter") { event.preventDefault(); ask(); } });
  place.replaceChildren(
    element("div", { class: "tw-label" }, builder.t("test")),
    element("div", { class: "tw-row" }, number, element("button", { type: "button", class: "tw-button tw-tiny", on: { click: ask } }, builder.t("test_button"))),
    found);
};

TwRule.verdictOf = (builder, answer) => {
  const { element } = TwRule;
  if (answer.problem) return [element("p", { class: "tw-node-error" }, answer.problem.message)];
  const test = answer.test;
  if (test.problem) return [element("p", { class: "tw-hint" }, test.problem)];
  const mark = (holds) => element("span", { class: holds ? "tw-holds" : "tw-fails" }, holds ? "✓ " : "✗ ", element("span", { class: "tw-sr" }, `${builder.t(holds ? "holds" : "fails")}: `));
  const line = (node) => node.kind
    ? element("li", {}, mark(node.holds), builder.t(node.kind), element("ul", {}, ...node.children.map(line)))
    : element("li", {}, mark(node.holds), node.sentence, node.reason ? element("div", { class: "tw-hint" }, node.reason) : "");
  return [
    element("p", { class: test.holds ? "tw-holds" : "tw-fails" }, element("a", { href: test.url, class: "tw-link", target: "_blank", rel: "noopener" }, test.title)),
    test.note ? element("p", { class: "tw-hint" }, test.note) : "",
    element("ul", { class: "tw-why" }, line(test.tree)),
  ];
};

/** The rule as text beside the tree: either may be edited, the other follows. */
TwRule.textPanel = (builder) => {
  const panel = builder.root.querySelector("[data-rule-text]");
  if (!panel) return { show() {} };
  const area = panel.querySelector("[data-rule-text-input]");
  const problem = panel.querySelector("[data-rule-text-error]");
  const words = builder.root.querySelector("[data-rule-words]");
  let timer = null;
  const say = (message) => { problem.hidden = !message; problem.textContent = message || ""; };
  area.addEventListener("input", () => {
    window.clearTimeout(timer);
    timer = window.setTimeout(async () => {
      const written = area.value;
      const answer = await builder.ask({ text: written, segment: builder.draft().segment });
      if (area.value !== written) return;
      say(answer.problem?.message);
      if (answer.problem) return;
      builder.take(answer.rule);
      words.textContent = answer.words;
      builder.show(answer);
    }, 500);
  });
  return {
    show(answer) {
      words.textContent = answer.words || "";
      if (document.activeElement === area) return;
      say("");
      area.value = answer.text || "";
      area.rows = Math.min(24, Math.max(4, area.value.split("\n").length + 1));
    },
  };
};
