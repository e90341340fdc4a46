/* Edits the JSON of a rule (segmentation/rules/language.py) in a textarea as nested groups of conditions.
   Fields, operators and every text come from the server; without this script the JSON itself can be edited. */
"use strict";

(() => {
  const KINDS = ["all", "any", "none"];
  let configuration = null;

  function load(url) {
    configuration = configuration || fetch(url, { credentials: "same-origin" }).then((response) => {
      if (!response.ok) throw new Error(`rule fields: ${response.status}`);
      return response.json();
    });
    return configuration;
  }

  const { element } = TwRule;

  const kindOf = (node) => KINDS.find((kind) => Array.isArray(node[kind]));
  const isScaled = (field) => field.unit === "probability" || field.unit === "share";
  // 0.07 × 100 is 7.000000000000001 in binary: ten digits are plenty.
  const tidy = (number) => Number(number.toPrecision(10));

  class Builder {
    constructor(root, config) {
      this.root = root;
      this.textarea = root.querySelector("textarea");
      this.tree = root.querySelector("[data-rule-tree]");
      this.reach = root.querySelector("[data-rule-reach]");
      this.config = config;
      this.fields = new Map(config.fields.map((field) => [field.name, field]));
      this.problem = root.dataset.errorMessage
        ? { path: root.dataset.errorPath, message: root.dataset.errorMessage }
        : null;
      this.textPanel = TwRule.textPanel(this);
      this.node = this.read();
      this.render();
      TwRule.testView(this);
      this.segmentSelect()?.addEventListener("change", () => this.preview());
      this.preview();
    }

    t(name) { return this.config.texts[name]; }

    read() {
      const text = this.textarea.value.trim();
      if (!text || text === "null") return this.root.dataset.optional ? null : { all: [this.freshCondition()] };
      try {
        const node = JSON.parse(text);
        return kindOf(node) ? node : { all: [node] };
      } catch {
        return { all: [this.freshCondition()] };
      }
    }

    /** The select that names the segment of the same campaign or priority rule, if the form has one. */
    segmentSelect() {
      if (!this.root.dataset.segmentField) return null;
      const name = this.textarea.name.replace(/[^-]+$/, this.root.dataset.segmentField);
      return document.querySelector(`select[name="${name}"]`);
    }

    changed({ structure = false } = {}) {
      this.problem = null;
      this.textarea.value = this.node === null ? "" : JSON.stringify(this.node);
      this.textarea.dispatchEvent(new Event("change", { bubbles: true }));
      if (structure) this.render();
      else this.clearErrors();
      window.clearTimeout(this.timer);
      this.timer = window.setTimeout(() => this.preview(), 400);
    }

    clearErrors() {
      this.tree.querySelectorAll(".tw-node-error").forEach((error) => error.remove());
      this.tree.querySelectorAll(".tw-wrong").forEach((input) => input.classList.remove("tw-wrong"));
    }

    render() {
      const focused = this.tree.contains(document.activeElement) ? document.activeElement.dataset.key : null;
      this.tree.replaceChildren(this.node === null ? this.emptyView() : this.groupView(this.node, "", null));
      if (this.problem) this.showProblem();
      const key = this.focusKey || focused;
      this.focusKey = null;
      if (key) this.tree.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus();
    }

    emptyView() {
      return element("p", { class: "tw-empty" }, `${this.t("no_condition")} `, this.button("add_condition", () => {
        this.node = { all: [this.freshCondition()] };
        this.changed({ structure: true });
      }, "empty"));
    }

    button(text, action, key, label) {
      return element(
        "button",
        { type: "button", class: "tw-button tw-tiny", "data-key": `${key}:${text}`, "aria-label": label, title: label, on: { click: action } },
        text === "remove" ? "✕" : this.t(text)
      );
    }

    groupView(node, path, remove) {
      const kind = kindOf(node);
      const here = path ? `${path}.${kind}` : kind;
      const children = node[kind];
      const select = element("select", { "data-key": `${here}:kind`, "aria-label": this.t("group"), on: { change: (event) => {
        delete node[kind];
        node[event.target.value] = children;
        this.focusKey = `${path ? `${path}.` : ""}${event.target.value}:kind`;
        this.changed({ structure: true });
      } } }, ...KINDS.map((name) => this.option(name, this.t(name), name === kind)));
      const rows = children.map((child, index) => this.childView(node, kind, child, index, here));
      return element(
        "fieldset",
        { class: "tw-group", "data-path": here },
        element("legend", {}, element("span", { class: "tw-row" }, select, remove)),
        element("div", { class: "tw-rows" }, ...rows, element("div", { class: "tw-row" },
          this.button("add_condition", () => this.add(children, here, this.freshCondition()), here),
          this.button("add_group", () => this.add(children, here, { any: [this.freshCondition()] }), here)))
      );
    }

    childView(parent, kind, child, index, here) {
      const path = `${here}[${index}]`;
      const remove = this.button("remove", () => {
        parent[kind].splice(index, 1);
        if (parent === this.node && !parent[kind].length && this.root.dataset.optional) this.node = null;
        this.focusKey = `${here}:add_condition`;
        this.changed({ structure: true });
      }, path, `${this.t("remove")}: ${this.words(child)}`);
      return kindOf(child) ? this.groupView(child, path, remove) : this.conditionView(child, path, remove);
    }

    add(children, here, node) {
      children.push(node);
      const path = `${here}[${children.length - 1}]`;
      this.focusKey = kindOf(node) ? `${path}.${kindOf(node)}:kind` : `${path}:field`;
      this.changed({ structure: true });
    }

    words(child) {
      return kindOf(child) ? this.t(kindOf(child)) : TwRule.fieldOf(this, child)?.label || child.field || "";
    }

    freshCondition() {
      const field = this.fields.get("feature.orders_90d") || this.config.fields[0];
      const operators = this.config.operators[field.type];
      return this.withOperator({ field: field.name }, field, (operators.find((one) => one.name === ">=") || operators[0]).name);
    }

    withOperator(condition, field, name) {
      const operator = this.config.operators[field.type].find((candidate) => candidate.name === name);
      condition.op = operator.name;
      delete condition.value;
      if (operator.shape !== "nothing") condition.value = this.blank(field, operator);
      return condition;
    }

    blank(field, operator) {
      const one = { number: 1, boolean: true, choice: field.choices[0]?.value ?? "", date: new Date().toISOString().slice(0, 10) }[field.type] ?? "";
      const many = field.choices.length ? [field.choices[0].value] : field.type === "number" ? [one] : [];
      return { one, pair: [one, one], many, days: 30, period: "this_month", pattern: "" }[operator.shape];
    }

    conditionView(condition, path, remove) {
      const field = TwRule.fieldOf(this, condition);
      const operators = field ? this.config.operators[field.type] : [];
      const operator = operators.find((candidate) => candidate.name === condition.op);
      const op = element("select", { "data-role": "op", "data-key": `${path}:op`, "aria-label": this.t("operator"), on: { change: (event) => {
        this.withOperator(condition, field, event.target.value);
        this.changed({ structure: true });
      } } }, ...operators.map((one) => this.option(one.name, one.label, one === operator)));
      return element(
        "div",
        { class: condition.event ? "tw-row tw-asks-event" : "tw-row", "data-path": path },
        this.fieldSelect(condition, path),
        condition.event ? TwRule.eventView(this, condition.event, path) : null,
        field ? op : null,
        ...(field && operator ? this.valueInputs(condition, field, operator, path) : []),
        remove
      );
    }

    fieldSelect(condition, path) {
      const groups = new Map();
      for (const field of this.config.fields) {
        if (!groups.has(field.group)) groups.set(field.group, element("optgroup", { label: field.group }));
        groups.get(field.group).append(this.option(field.name, field.label, field.name === condition.field));
      }
      const measures = this.config.events.measures.map((one) => this.option(TwRule.PREFIX + one.name, one.label, Boolean(condition.event) && (condition.event.measure || "count") === one.name));
      groups.set(TwRule.PREFIX, element("optgroup", { label: this.config.events.group }, ...measures));
      const unknown = condition.event || this.fields.has(condition.field) ? [] : [this.option(condition.field, condition.field, true)];
      return element("select", { "data-role": "field", "data-key": `${path}:field`, "aria-label": this.t("field"), on: { change: (event) => {
        const field = this.choose(condition, event.target.value);
        if (!field) return;
        const same = this.config.operators[field.type].find((candidate) => candidate.name === condition.op);
        this.withOperator(condition, field, (same || this.config.operators[field.type][0]).name);
        this.changed({ structure: true });
      } } }, ...unknown, ...groups.values());
    }

    /** Make the condition ask about a field, or about events; returns what it asks about now. */
    choose(condition, name) {
      if (!name.startsWith(TwRule.PREFIX)) {
        if (!this.fields.has(name)) return undefined;
        delete condition.event;
        condition.field = name;
        return this.fields.get(name);
      }
      delete condition.field;
      const { measure: _before, ...event } = condition.event || { kind: ["order_placed"], within_days: 30 };
      const measure = name.slice(TwRule.PREFIX.length);
      condition.event = measure === "count" ? event : { ...event, measure };
      return TwRule.fieldOf(this, condition);
    }

    option(value, label, selected) {
      return element("option", { value, selected }, label);
    }

    valueInputs(condition, field, operator, path) {
      const set = (value) => { condition.value = value; this.changed(); };
      const key = `${path}:value`;
      switch (operator.shape) {
        case "nothing":
          return [];
        case "days":
          return [this.numberInput(condition.value, set, key, "1"), this.t("days")];
        case "pair":
          return [0, 1].flatMap((end) => [
            end ? this.t("to") : null,
            this.oneInput(field, condition.value[end], (value) => { condition.value[end] = value; this.changed(); }, `${key}[${end}]`),
            end ? this.unit(field) : null,
          ]);
        case "period":
          return [this.select(this.config.periods.map((one) => [one.value, one.label]), condition.value, set, key)];
        case "pattern":
          return [this.oneInput({ type: "text", choices: [] }, condition.value, set, key)];
        case "many":
          return [this.manyInput(field, condition.value, set, key)];
        default:
          return [this.oneInput(field, condition.value, set, key), this.unit(field)];
      }
    }

    unit(field) {
      if (isScaled(field)) return "%";
      if (field.unit === "money") return this.config.currency;
      return field.type === "number" && field.unit ? this.config.units[field.unit] ?? field.unit : null;
    }

    oneInput(field, value, set, key) {
      if (field.type === "number") {
        const scale = isScaled(field) ? 100 : 1;
        const shown = typeof value === "number" ? tidy(value * scale) : value;
        return this.numberInput(shown, (entered) => set(typeof entered === "number" ? tidy(entered / scale) : entered), key, "any");
      }
      if (field.type === "boolean") return this.select([["true", this.t("yes")], ["false", this.t("no")]], String(value), (text) => set(text === "true"), key);
      if (field.choices.length) return this.select(field.choices.map((choice) => [choice.value, choice.label]), value, set, key);
      const type = field.type === "date" ? "date" : "text";
      return element("input", { type, value, "data-key": key, "aria-label": this.t("value"), on: { input: (event) => set(event.target.value) } });
    }

    numberInput(value, set, key, step) {
      return element("input", { type: "number", step, value: value ?? "", "data-key": key, "aria-label": this.t("value"), on: {
        input: (event) => set(event.target.value === "" ? null : Number(event.target.value)),
      } });
    }

    select(choices, value, set, key) {
      return element("select", { "data-key": key, "aria-label": this.t("value"), on: { change: (event) => set(event.target.value) } },
        ...choices.map(([name, label]) => this.option(name, label, name === value)));
    }

    manyInput(field, values, set, key) {
      if (field.choices.length) {
        return element("select", { multiple: true, "data-key": key, "aria-label": this.t("values"), on: {
          change: (event) => set([...event.target.selectedOptions].map((option) => option.value)),
        } }, ...field.choices.map((choice) => this.option(choice.value, choice.label, (values || []).includes(choice.value))));
      }
      return element("input", { type: "text", value: (values || []).join(", "), placeholder: this.t("comma"), "data-key": key, "aria-label": this.t("values"), on: {
        input: (event) => set(event.target.value.split(",").map((part) => part.trim()).filter(Boolean).map((part) => (field.type === "number" && !Number.isNaN(Number(part)) ? Number(part) : part))),
      } });
    }

    /** Put the server's sentence under the node it names, or under the nearest one above it. */
    showProblem() {
      const { path, message } = this.problem;
      const nodes = [...this.tree.querySelectorAll("[data-path]")]
        .filter((node) => path.startsWith(node.dataset.path))
        .sort((a, b) => b.dataset.path.length - a.dataset.path.length);
      const place = nodes[0] || this.tree;
      this.tree.querySelector(`[data-key="${CSS.escape(path.replace(/\.(field|op|value)/, ":$1"))}"]`)?.classList.add("tw-wrong");
      place.append(element("p", { class: "tw-node-error", role: "alert" }, message));
    }

    /** What the server is asked about: the tree as it is, and the segment of the same form. */
    draft() { return { rule: this.node, segment: this.segmentSelect()?.value || null }; }

    async ask(question, signal) {
      try {
        const response = await fetch(this.root.dataset.previewUrl, {
          method: "POST",
          credentials: "same-origin",
          headers: { "Content-Type": "application/json", "X-CSRFToken": document.querySelector("input[name=csrfmiddlewaretoken]").value },
          body: JSON.stringify(question),
          signal,
        });
        return await response.json();
      } catch (error) {
        return error.name === "AbortError" ? null : { problem: { path: "", message: this.t("no_preview") } };
      }
    }

    /** A rule that came from its text. */
    take(rule) {
      this.node = rule === null ? null : kindOf(rule) ? rule : { all: [rule] };
      this.problem = null;
      this.textarea.value = rule === null ? "" : JSON.stringify(rule);
      this.textarea.dispatchEvent(new Event("change", { bubbles: true }));
      this.render();
    }

    /** First a quick look; when that was a sample, everybody is counted afterwards. */
    async preview() {
      if (!this.reach) return;
      this.going?.abort();
      const draft = this.draft();
      if (draft.rule === null && !draft.segment) {
        this.reach.replaceChildren(this.t("nothing_to_preview"));
        this.textPanel.show({});
        return;
      }
      const going = (this.going = new AbortController());
      this.reach.setAttribute("aria-busy", "true");
      const answer = await this.ask(draft, going.signal);
      if (answer === null || going !== this.going) return;
      this.clearErrors();
      if (answer.problem) {
        this.reach.removeAttribute("aria-busy");
        this.problem = answer.problem;
        this.showProblem();
        this.reach.replaceChildren(this.t("fix_first"));
        return;
      }
      this.textPanel.show(answer);
      await this.show(answer, going);
    }

    /** Everybody counted: by this request, or by a worker that is asked until it has. Null when the draft has moved on. */
    async exact(going) {
      for (let wait = 500; ; wait = Math.min(wait * 1.5, 5000)) {
        const answer = await this.ask({ ...this.draft(), exact: true }, going.signal);
        if (answer === null || going !== this.going || !answer.waiting) return answer;
        await new Promise((done) => setTimeout(done, wait));
        if (going !== this.going || !this.root.isConnected) return null;
      }
    }

    async show(answer, going = (this.going = new AbortController())) {
      TwRule.reachView(this, answer);
      TwRule.besideView(this, answer);
      if (!answer.final) {
        const exact = await this.exact(going);
        if (exact === null || going !== this.going) return;
        if (!exact.problem) TwRule.reachView(this, exact);
      }
      this.reach.removeAttribute("aria-busy");
    }
  }

  async function start(root) {
    if (root.dataset.ready || root.querySelector("textarea").name.includes("__prefix__")) return;
    root.dataset.ready = "1";
    try {
      root.builder = new Builder(root, await load(root.dataset.fieldsUrl));
    } catch {
      root.classList.add("tw-plain-text");
    }
  }

  const startAll = (within) => within.querySelectorAll("[data-rule-builder]").forEach(start);
  document.addEventListener("DOMContentLoaded", () => startAll(document));
  document.addEventListener("formset:added", (event) => startAll(event.target));
})();
