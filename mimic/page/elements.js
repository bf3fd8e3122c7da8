// Elements with untrusted text: it is always inserted as text, never parsed.

/** An element with properties and children; a string is a text node. `class` and `data` as in HTML. */
export function element(name, { class: classes, data, attributes, ...properties } = {}, ...children) {
  const made = document.createElement(name);
  if (classes) made.className = classes;
  Object.assign(made.dataset, data);
  for (const [attribute, value] of Object.entries(attributes ?? {})) made.setAttribute(attribute, value);
  Object.assign(made, properties);
  made.append(...children.filter((child) => child !== null));
  return made;
}

/**
 * Make the children of an element, from an index on, equal to `nodes`. Nodes that are equal already stay, and with them
 * the selection, the focus, and the position of a scroll.
 */
export function patch(parent, nodes, from = 0) {
  nodes.forEach((node, index) => {
    const old = parent.childNodes[from + index];
    if (!old) parent.append(node);
    else if (!old.isEqualNode(node)) align(old, node);
  });
  while (parent.childNodes.length > from + nodes.length) parent.lastChild.remove();
}

function align(old, node) {
  if (!old.cloneNode(false).isEqualNode(node.cloneNode(false)) && !areTexts(old, node)) old.replaceWith(node);
  else if (!areTexts(old, node)) patch(old, [...node.childNodes]);
  else if (node.data.startsWith(old.data)) old.appendData(node.data.slice(old.data.length));
  else old.data = node.data;
}

const areTexts = (...nodes) => nodes.every(({ nodeType }) => nodeType === Node.TEXT_NODE);

/** An element of the page by its id. */
export const byId = (id) => document.getElementById(id);

/** A text of the corpus within a line; its control characters have no effect outside. */
export const quoted = (text) => element("bdi", { class: "quoted" }, oneLine(text));

/** The direction of a text: that of its first letter. The attribute `dir="auto"` takes long for thousands of elements. */
export const directionOf = (text) => (/^\P{L}*[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]/u.test(text) ? "rtl" : "ltr");

/** The text on one line, with single blanks. An empty or invisible text gets a label. */
export const oneLine = (text) => {
  const line = text.replace(/\s+/g, " ").trim();
  if (!line) return "(empty)";
  return /[^\p{Cf}\p{Cc}\s]/u.test(line) ? line : "(invisible)";
};

const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const share = new Intl.NumberFormat("en", { style: "percent", maximumFractionDigits: 1 });

export const number = (value) => whole.format(value);
export const compact = (value) => short.format(value);
export const percent = (part, all) => share.format(all ? part / all : 0);
export const plural = (count, noun) => `${number(count)} ${noun}${count === 1 ? "" : "s"}`;

/** Bytes, as powers of 1000. */
export function size(bytes) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  const step = Math.min(Math.floor(Math.log10(Math.max(bytes, 1)) / 3), units.length - 1);
  const value = bytes / 1000 ** step;
  return `${value >= 100 || step === 0 ? Math.round(value) : value.toFixed(1)} ${units[step]}`;
}
