/* What the parts of the rule builder share. */
"use strict";

const TwRule = {
  element(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name === "on") for (const [event, handler] of Object.entries(value)) made.addEventListener(event, handler);
      else if (name in made && typeof value === "boolean") made[name] = value;
      else if (value !== undefined && value !== null) made.setAttribute(name, value);
    }
    made.append(...children.filter((child) => child !== null && child !== undefined));
    return made;
  },

  /** A select of [value, label] pairs. */
  select(pairs, chosen, label, key, changed, more = {}) {
    const { element } = TwRule;
    return element("select", { "aria-label": label, "data-key": key, on: { change: (event) => changed(event.target) }, ...more },
      ...pairs.map(([value, words]) => element("option", { value, selected: Array.isArray(chosen) ? chosen.includes(value) : value === chosen }, words)));
  },

  input(type, value, label, key, entered, more = {}) {
    return TwRule.element("input", { type, value: value ?? "", "aria-label": label, "data-key": key, on: { input: (event) => entered(event.target.value) }, ...more });
  },
};
