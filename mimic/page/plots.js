// Small plots of plain elements, in the colours and the width of the page.

import { compact, element, number, percent } from "./elements.js";

/** A row of bars, one for each power of two, and its percentiles in words. */
export function histogram(title, { histogram: counts, p50, p90, p99, max }, unit) {
  const most = Math.max(...counts, 1);
  const total = counts.reduce((sum, count) => sum + count, 0);
  const mode = counts.indexOf(Math.max(...counts));
  const bars = counts.map((count, bits) => {
    const bar = element("span", { class: "bar", title: `${range(bits)} ${unit}: ${number(count)}` });
    bar.style.height = count ? `max(2px, ${(100 * count) / most}%)` : "0";
    return bar;
  });
  const spoken = `${title}: ${percent(counts[mode], total)} are of ${range(mode)} ${unit}, the most common range.`;
  return element(
    "figure",
    {},
    element("figcaption", {}, title, element("span", { class: "hint" }, ` in ${unit}`)),
    element("div", { class: "bars", attributes: { role: "img", "aria-label": spoken } }, ...bars),
    element("div", { class: "ticks", attributes: { "aria-hidden": "true" } }, ...counts.map(tick)),
    facts([
      ["median", number(p50)],
      ["p90", number(p90)],
      ["p99", number(p99)],
      ["longest", number(max)],
    ]),
  );
}

/** Bars from left to right, longest first, each with its label and its share. */
export function shares(items) {
  const most = Math.max(...items.map(({ count }) => count), 1);
  const total = items.reduce((sum, { count }) => sum + count, 0);
  const rows = items.map(({ label, count }) => {
    const bar = element("span", { class: "share", attributes: { "aria-hidden": "true" } });
    bar.style.width = `${(100 * count) / most}%`;
    const value = element("span", { class: "value" }, `${number(count)} · ${percent(count, total)}`);
    return element("li", {}, element("bdi", {}, label), value, bar);
  });
  return element("ul", { class: "shares" }, ...rows);
}

/** A list of terms and numbers. */
export function facts(pairs) {
  const rows = pairs.map(([term, value]) => element("div", {}, element("dt", {}, term), element("dd", {}, value)));
  return element("dl", { class: "facts" }, ...rows);
}

const least = (bits) => (bits === 0 ? 0 : 2 ** (bits - 1));

const range = (bits) => (bits < 2 ? `${bits}` : `${number(least(bits))} to ${number(2 ** bits - 1)}`);

/** The lower bound of a bar, below every third bar. */
const tick = (_, bits) => element("span", {}, bits % 3 === 1 ? compact(least(bits)) : "");
