// The journal of requests, read each second while it is in view.

import { Problem, get } from "./api.js";
import { codeBlock } from "./code.js";
import { byId, element, number, patch, plural } from "./elements.js";
import { showProblem } from "./problems.js";

const MILLISECONDS_BETWEEN_READS = 1000;
const MOST = 200;

const STATUSES = {
  "": () => true,
  answered: ({ status }) => status >= 200 && status < 300,
  refused: ({ status }) => status >= 400 && status < 500,
  failed: ({ status }) => status >= 500,
  open: ({ last_byte_ms: ended }) => ended === null,
};

const CLASSES = { 2: "good", 4: "bad", 5: "bad" };

let entries = [];
let total = 0;
let inView = false;
let waiting = null;
let isReading = false;

/** Wire the journal. It is read while it is in view, and its tab is the visible one. */
export function prepareJournal() {
  new IntersectionObserver(([{ isIntersecting }]) => {
    inView = isIntersecting;
    readNow();
  }).observe(byId("journal"));
  document.addEventListener("visibilitychange", readNow);
  byId("journal-route").onchange = readNow;
  byId("journal-status").onchange = show;
}

function readNow() {
  clearTimeout(waiting);
  if (inView && !document.hidden) read();
}

async function read() {
  if (isReading) return;
  isReading = true;
  const route = byId("journal-route").value;
  try {
    const found = await get("mimic/requests", { limit: MOST, route });
    ({ total, requests: entries } = found);
    addRoutes();
    show();
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    return giveUp(problem);
  } finally {
    isReading = false;
  }
  const isOutdated = route !== byId("journal-route").value;
  clearTimeout(waiting);
  if (inView && !document.hidden) waiting = setTimeout(read, isOutdated ? 0 : MILLISECONDS_BETWEEN_READS);
}

/** Say why there is no journal. A server that is away is asked again. */
function giveUp(problem) {
  entries = [];
  show();
  byId("journal-outcome").textContent = problem.message;
  byId("journal-filters").hidden = problem.status === 403;
  if (!showProblem(problem) && problem.status !== 403) waiting = setTimeout(readNow, 5 * MILLISECONDS_BETWEEN_READS);
}

/** Offer the routes of the entries, in addition to those that are offered already. */
function addRoutes() {
  const select = byId("journal-route");
  const known = new Set([...select.options].map(({ value }) => value));
  const added = new Set(entries.map(({ route }) => route).filter((route) => !known.has(route)));
  select.append(...[...added].map((route) => element("option", { value: route }, route)));
}

function show() {
  const shown = entries.filter(STATUSES[byId("journal-status").value]).toReversed();
  byId("journal-outcome").textContent = shown.length
    ? `${plural(shown.length, "request")}, newest first, of ${number(total)} since the last reset`
    : "No request yet. Requests below /v1, and every other POST, appear here.";
  list(shown);
}

/** Show entries by id and time, so that an open one stays open and keeps the focus. Clients may send an id twice. */
function list(shown) {
  const holder = byId("requests");
  const old = new Map([...holder.children].map((item) => [item.dataset.id, item]));
  const items = shown.map((entry) => {
    const id = `${entry.id} ${entry.at}`;
    const item = old.get(id) ?? shape(id);
    old.delete(id);
    fill(item, entry);
    return item;
  });
  for (const item of old.values()) item.remove();
  items.forEach((item, index) => holder.children[index] !== item && holder.insertBefore(item, holder.children[index] ?? null));
}

function shape(id) {
  const details = element("details", {}, element("summary", {}), element("div", { class: "entry" }));
  details.ontoggle = () => fillBody(details.parentNode);
  return element("li", { data: { id } }, details);
}

function fill(item, entry) {
  const text = JSON.stringify(entry, null, 2);
  if (item.shownText === text) return;
  item.shownText = text;
  patch(item.firstChild.firstChild, cells(entry));
  fillBody(item);
}

/** Show the values of an open entry. There may be hundreds that are not open. */
function fillBody({ firstChild: details, shownText }) {
  patch(details.lastChild, details.open ? [codeBlock(shownText, "JSON")] : []);
}

function cells({ at, method, path, status, model, match, completion_tokens: tokens, last_byte_ms: ended, fault, client_left: left, tool_calls: calls }) {
  const marks = [
    match && match !== "none" ? match : null,
    ...calls.map((name) => `${name}()`),
    tokens === null ? null : plural(tokens, "token"),
    fault ? `fault: ${fault}` : null,
    left ? "client left" : null,
  ].filter(Boolean);
  return [
    element("time", { dateTime: at }, new Date(at).toLocaleTimeString("en", { hour12: false })),
    element("span", { class: `status ${CLASSES[String(status)[0]] ?? ""}` }, status === null ? "…" : `${status}`),
    element("span", { class: "path" }, `${method} `, element("bdi", {}, path)),
    element("span", { class: "model" }, element("bdi", {}, model ?? "")),
    element("span", { class: "marks" }, element("bdi", {}, marks.join(" · "))),
    element("span", { class: "value" }, ended === null ? "running" : `${number(Math.round(ended))} ms`),
  ];
}
