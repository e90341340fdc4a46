/* The part of a condition that asks what the customer did (segmentation/rules/events.py). */
"use strict";

TwRule.PREFIX = "event:";

/** The field that a condition asks about, also when it is a question about events. */
TwRule.fieldOf = (builder, condition) => {
  if (!condition.event) return builder.fields.get(condition.field);
  const name = condition.event.measure || "count";
  const measure = builder.config.events.measures.find((one) => one.name === name);
  if (!measure) return undefined;
  const choices = measure.type === "tags" ? builder.config.events.categories.map((one) => ({ value: one, label: one })) : [];
  return { ...measure, name: TwRule.PREFIX + name, choices };
};

/** Controls for which events count: what, from which categories, which product, over which amount, when, and what came then. */
TwRule.eventView = (builder, event, path) => {
  const { element, select, input } = TwRule;
  const known = builder.config.events;
  const t = (name) => builder.t(name);
  const here = `${path}.event`;
  const edit = (change, structure = false) => { change(); builder.changed({ structure }); };
  const kinds = Array.isArray(event.kind) ? event.kind : [event.kind];
  const kindPairs = known.kinds.map((one) => [one.value, one.label]);

  const kind = kinds.length > 1
    ? select(kindPairs, kinds, t("kind"), `${here}.kind`, (node) => edit(() => { event.kind = [...node.selectedOptions].map((one) => one.value); }), { multiple: true })
    : select(kindPairs, kinds[0], t("kind"), `${here}.kind`, (node) => edit(() => { event.kind = [node.value]; }));

  const category = (event.category || []).length > 1
    ? select(known.categories.map((one) => [one, one]), event.category, t("category"), `${here}.category`, (node) => edit(() => { event.category = [...node.selectedOptions].map((one) => one.value); }), { multiple: true })
    : select([["", t("any_category")], ...known.categories.map((one) => [one, one])], (event.category || [])[0] || "", t("category"), `${here}.category`,
      (node) => edit(() => { if (node.value) event.category = [node.value]; else delete event.category; }));

  const amount = [select([["", t("any_amount")], ...known.compared.map((one) => [one.value, `${t("amount")} ${one.label}`])], event.amount?.op || "", t("amount"), `${here}.amount.op`,
    (node) => edit(() => { if (node.value) event.amount = { op: node.value, value: event.amount?.value ?? 20 }; else delete event.amount; }, true))];
  if (event.amount) {
    amount.push(input("number", event.amount.value, t("amount"), `${here}.amount.value`, (text) => edit(() => { event.amount.value = text === "" ? null : Number(text); }), { step: "any" }), builder.config.currency);
  }
  return element("div", { class: "tw-event" },
    element("span", { class: "tw-row" }, kind, known.categories.length ? category : null),
    element("span", { class: "tw-row tw-wide" }, ...TwRule.productView(builder, event, here, t, edit)),
    element("span", { class: "tw-row" }, ...amount),
    element("span", { class: "tw-row" }, ...TwRule.whenView(event, here, t, edit)),
    element("span", { class: "tw-row" }, ...TwRule.followView(event, here, t, edit, kindPairs)));
};

/** Which product: its number, or what is in its name; and its price and how many, of one line of the event. */
TwRule.productView = (builder, event, path, t, edit) => {
  const { select, input } = TwRule;
  const here = `${path}.product`;
  const known = builder.config.events;
  const product = event.product || {};
  const chosen = product.id ? "id" : product.name ? `name:${product.name.op}` : "";
  const tidy = () => { if (event.product && !Object.keys(event.product).length) delete event.product; };
  const put = (key, value) => edit(() => { event.product = { ...event.product, [key]: value }; });
  const which = select([["", t("any_product")], ["id", t("product_number")], ...known.named.map((one) => [`name:${one.value}`, `${t("product")} ${one.label}`])], chosen, t("product"), `${here}.which`,
    (node) => edit(() => {
      const { id, name, ...rest } = event.product || {};
      event.product = rest;
      if (node.value === "id") event.product.id = id || [];
      else if (node.value) event.product.name = { op: node.value.slice("name:".length), value: name?.value ?? "" };
      tidy();
    }, true));
  const parts = [which];
  if (product.id) parts.push(input("text", [product.id].flat().join(", "), t("product_number"), `${here}.id`, (text) => put("id", text.split(",").map((one) => one.trim()).filter(Boolean)), { placeholder: t("comma") }));
  if (product.name) parts.push(input("text", product.name.value, t("product_name"), `${here}.name`, (text) => put("name", { ...product.name, value: text })));
  for (const [key, any, unit, first] of [["price", "any_price", builder.config.currency, 20], ["quantity", "any_quantity", null, 2]]) {
    parts.push(select([["", t(any)], ...known.compared.map((one) => [one.value, `${t(key)} ${one.label}`])], product[key]?.op || "", t(key), `${here}.${key}.op`,
      (node) => edit(() => {
        const { [key]: before, ...rest } = event.product || {};
        event.product = node.value ? { ...rest, [key]: { op: node.value, value: before?.value ?? first } } : rest;
        tidy();
      }, true)));
    if (product[key]) parts.push(input("number", product[key].value, t(key), `${here}.${key}.value`, (text) => put(key, { ...product[key], value: text === "" ? null : Number(text) }), { step: "any", min: "0" }), unit);
  }
  return parts;
};

TwRule.whenView = (event, here, t, edit) => {
  const { select, input } = TwRule;
  const keys = ["within_days", "older_than_days", "from", "to"];
  const chosen = event.within_days !== undefined ? "within" : event.older_than_days !== undefined ? "older" : event.from || event.to ? "between_days" : "any_time";
  const today = new Date().toISOString().slice(0, 10);
  const fresh = { any_time: {}, within: { within_days: 30 }, older: { older_than_days: 30 }, between_days: { from: today, to: today } };
  const when = select(["any_time", "within", "older", "between_days"].map((name) => [name, t(name)]), chosen, t("when"), `${here}.when`,
    (node) => edit(() => { keys.forEach((key) => delete event[key]); Object.assign(event, fresh[node.value]); }, true));
  const days = (key) => input("number", event[key], t("days"), `${here}.${key}`, (text) => edit(() => { event[key] = text === "" ? null : Number(text); }), { step: "1", min: "0" });
  const day = (key) => input("date", event[key], t(key), `${here}.${key}`, (text) => edit(() => { if (text) event[key] = text; else delete event[key]; }));
  if (chosen === "within") return [when, days("within_days"), t("days"), ...(event.older_than_days === undefined ? [] : [days("older_than_days")])];
  if (chosen === "older") return [when, days("older_than_days"), t("days")];
  if (chosen === "between_days") return [when, day("from"), t("to"), day("to")];
  return [when];
};

TwRule.followView = (event, here, t, edit, kindPairs) => {
  const { select } = TwRule;
  const chosen = ["not_followed_by", "followed_by"].find((key) => event[key]) || "follow_any";
  const follow = select(["follow_any", "followed_by", "not_followed_by"].map((name) => [name, t(name)]), chosen, t("follow"), `${here}.follow`,
    (node) => edit(() => {
      const before = event[chosen] || { kind: ["order_placed"] };
      delete event.followed_by;
      delete event.not_followed_by;
      if (node.value !== "follow_any") event[node.value] = before;
    }, true));
  if (chosen === "follow_any") return [follow];
  const kinds = event[chosen].kind;
  return [follow, select(kindPairs, kinds, t("kind"), `${here}.${chosen}.kind`, (node) => edit(() => { event[chosen].kind = [...node.selectedOptions].map((one) => one.value); }), { multiple: kinds.length > 1 })];
};
