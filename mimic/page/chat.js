// The chat: messages, streamed answers, and their sources.

import { Problem, events, post } from "./api.js";
import { openConversation } from "./conversation.js";
import { byId, element, number, plural } from "./elements.js";
import { problemShape, showProblem } from "./problems.js";

/** Characters of an answer to show. The whole answer is kept. */
const LONGEST_SHOWN = 100_000;

const RUNGS = {
  previous: "the last two messages matched",
  last: "the last message matched",
  normalized: "the last message matched, except for its spelling",
  nearest: "the most similar message matched",
  meaning: "a message with a similar meaning matched",
  part: "a part of the message matched",
  none: "no message matched; the answer is not from the corpus",
};

let history = [];
let running = null;

/** Wire the composer. Enter sends, Shift+Enter starts a new line, Escape stops. */
export function prepareChat() {
  const text = byId("text");
  byId("composer").onsubmit = (event) => {
    event.preventDefault();
    say(text.value);
  };
  text.onkeydown = (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      say(text.value);
    } else if (event.key === "Escape") running?.abort();
  };
  byId("stop").onclick = () => running?.abort();
  byId("new-chat").onclick = begin;
}

/** Show messages to try in the empty chat. */
export function suggest(texts) {
  const buttons = texts.map((text) =>
    element("button", { type: "button", class: "chip", onclick: () => say(text) }, element("bdi", {}, text)),
  );
  byId("suggestions").replaceChildren(...buttons);
}

/** Put a message into the composer. */
export function propose(text) {
  byId("text").value = text;
  byId("chat").scrollIntoView();
  byId("text").focus();
}

function begin() {
  running?.abort();
  history = [];
  for (const turn of byId("log").querySelectorAll(".turn")) turn.remove();
  byId("welcome").hidden = false;
  byId("telling").textContent = "A new chat";
  byId("text").focus();
}

async function say(text) {
  if (running || !text.trim() || !knobsAreRight()) return;
  byId("welcome").hidden = true;
  byId("text").value = "";
  history.push({ role: "user", content: text });
  add(turn("user", "You", shownText(text)));
  byId("text").focus();
  await answer();
}

async function answer() {
  const chat = history;
  for (const again of byId("log").querySelectorAll(".again")) again.remove();
  const shape = answerShape();
  add(shape.whole);
  working(new AbortController());
  const outcome = await stream(shape, request());
  working(null);
  if (chat !== history) return; // a new chat has begun meanwhile
  shape.finish();
  if (outcome.problem) giveBack(shape, outcome);
  else {
    history.push({ role: "assistant", content: outcome.text });
    shape.meta.append(...facts(outcome), againButton(shape));
    byId("telling").textContent = outcome.stopped ? "Stopped" : "Answered";
  }
  follow(true);
}

/** Send a request and show the answer as it arrives. Returns the text, the usage, and the outcome. */
async function stream(shape, { body, headers, version }) {
  const outcome = { text: "", usage: null, first: null, ended: null, stopped: false, problem: null };
  const began = performance.now();
  try {
    const response = await post("v1/chat/completions", body, headers, running.signal);
    shape.meta.append(...origin(response.headers, version));
    for await (const { choices, usage } of events(response)) {
      outcome.usage ??= usage;
      outcome.ended ??= choices[0]?.finish_reason;
      const added = choices[0]?.delta.content;
      if (!added) continue;
      outcome.first ??= performance.now() - began;
      outcome.text += added;
      shape.append(added);
    }
  } catch (problem) {
    outcome.stopped = problem.name === "AbortError";
    if (!outcome.stopped && !(problem instanceof Problem)) throw problem;
    if (!outcome.stopped || !outcome.text) outcome.problem = problem;
  }
  return outcome;
}

/** Show the problem of a failed answer, and put the message back into the composer. */
function giveBack(shape, { problem, text: came }) {
  const { content } = history.pop();
  if (!came) shape.whole.replaceChildren();
  if (problem.name === "AbortError") shape.whole.append(element("p", { class: "hint" }, "Stopped before the first token."));
  else {
    shape.whole.append(problemShape(problem));
    showProblem(problem);
  }
  const text = byId("text");
  if (!text.value) {
    text.value = content;
    text.select(); // so that typing replaces it
  }
  byId("telling").textContent = "No answer";
}

function request() {
  const value = (id) => byId(id).value;
  const system = value("system").trim() ? [{ role: "system", content: value("system") }] : [];
  const headers = { "x-mimic-match": value("match"), "x-mimic-pace": value("pace") };
  const numbers = { seed: value("seed"), max_tokens: value("max-tokens") };
  const body = {
    model: value("model"),
    messages: [...system, ...history],
    temperature: Number(value("temperature")),
    top_p: Number(value("top-p")),
    stream: true,
    stream_options: { include_usage: true },
    ...Object.fromEntries(given(numbers).map(([name, text]) => [name, Number(text)])),
  };
  return { body, headers: Object.fromEntries(given(headers)), version: body.model.replace("mimic-", "") };
}

const given = (fields) => Object.entries(fields).filter(([, text]) => text !== "");

function knobsAreRight() {
  if (byId("knobs").checkValidity()) return true;
  byId("settings").open = true;
  byId("knobs").reportValidity();
  return false;
}

function answerShape() {
  const text = document.createTextNode("");
  const meta = element("footer", { class: "meta" });
  const whole = turn("answer", "Mimic", element("div", { class: "text waiting", dir: "auto" }, text), meta);
  whole.setAttribute("aria-busy", "true");
  let pending = "";
  let length = 0;
  const paint = () => {
    const room = LONGEST_SHOWN - text.length;
    text.appendData(pending.slice(0, room));
    if (pending) text.parentNode.classList.remove("waiting");
    pending = "";
    follow();
  };
  return {
    whole,
    meta,
    append(added) {
      if (!pending) requestAnimationFrame(paint);
      length += added.length;
      pending += added;
    },
    finish() {
      paint();
      text.parentNode.classList.remove("waiting");
      if (!length) text.data = "(empty)";
      if (length > LONGEST_SHOWN) meta.append(fact(`${number(length - LONGEST_SHOWN)} more characters are not shown`));
      whole.removeAttribute("aria-busy");
    },
  };
}

/** The rung, the score and the source of an answer, from its headers. */
function origin(headers, version) {
  const [rung, score, source, place] = ["match", "score", "source", "document"].map((name) => headers.get(`x-mimic-${name}`));
  const parts = [element("span", { class: "rung" }, rung)];
  if (rung in RUNGS) parts.push(fact(RUNGS[rung]));
  if (score && score !== "none") parts.push(fact(`score ${Number(score).toFixed(2)}`));
  if (!source || source === "none") return parts;
  const [id, position] = source.split("#");
  const where = { version, document: place, position: Number(position), id: decodeURIComponent(id) };
  const label = element("bdi", {}, `${where.id || "(no id)"}#${position}`);
  const title = "Open the conversation it came from";
  return [...parts, element("button", { type: "button", class: "link source", title, onclick: () => openConversation(where) }, "from ", label)];
}

/** The tokens, the time to the first token, and the end of an answer. */
function facts({ usage, first, ended, stopped }) {
  return [
    usage ? fact(`${number(usage.prompt_tokens)} + ${plural(usage.completion_tokens, "token")}`, "prompt + answer") : null,
    first === null ? null : fact(`first token ${first < 10 ? first.toFixed(1) : number(Math.round(first))} ms`),
    ended === "length" ? fact("cut at the token limit") : null,
    stopped ? fact("stopped") : null,
  ].filter(Boolean);
}

const fact = (text, title = "") => element("span", { title }, text);

function againButton(shape) {
  const onclick = () => {
    if (running || !knobsAreRight()) return;
    history.pop();
    shape.whole.remove();
    byId("text").focus();
    answer();
  };
  return element("button", { type: "button", class: "link again", title: "Ask the same again, with the current settings", onclick }, "ask again");
}

const shownText = (text) => element("div", { class: "text", dir: "auto" }, text.slice(0, LONGEST_SHOWN));

const turn = (kind, who, ...children) =>
  element("article", { class: `turn ${kind}` }, element("h3", { class: "unseen" }, who), ...children);

function add(shape) {
  byId("log").append(shape);
  follow(true);
}

/** Keep the end of the chat in view, unless the reader has scrolled away. */
function follow(always = false) {
  const log = byId("log");
  if (always || log.scrollHeight - log.scrollTop - log.clientHeight < 120) log.scrollTop = log.scrollHeight;
}

function working(controller) {
  running = controller;
  byId("send").hidden = controller !== null;
  byId("stop").hidden = controller === null;
  if (controller) byId("telling").textContent = "Answering";
}
