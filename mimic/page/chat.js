// The chat: messages, streamed answers, and their sources.

import { LONGEST_SHOWN, answerShape, preparePlainText } from "./answer.js";
import { Problem, events, key, post } from "./api.js";
import { openConversation } from "./conversation.js";
import { byId, element, number, plural } from "./elements.js";
import { problemShape, showProblem } from "./problems.js";
import { showSimilar } from "./similar.js";
import { prepareSnippets, showSnippets } from "./snippets-dialog.js";
import { Calls, offered, prepareTools, resultsForm } from "./tools.js";

const RUNGS = {
  previous: "the last two messages matched",
  last: "the last message matched",
  normalized: "the last message matched, except for its spelling",
  nearest: "the most similar message matched",
  meaning: "a message with a similar meaning matched",
  part: "a part of the message matched",
  none: "no message matched",
};

/** The messages of the chat, as requests have them. */
let history = [];

/** The form for the results of the last answer's tool calls, or null. */
let results = null;

/** The last request and its answer, or null. */
let newest = null;

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
  byId("copy-chat").onclick = () => showSnippets({ ...newest, hasKey: key.get() !== null });
  preparePlainText();
  prepareTools();
  prepareSnippets();
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
  results = newest = null;
  for (const turn of byId("log").querySelectorAll(".turn")) turn.remove();
  byId("welcome").hidden = false;
  byId("copy-chat").hidden = true;
  byId("telling").textContent = "A new chat";
  byId("text").focus();
}

async function say(text) {
  if (running || !text.trim() || !knobsAreRight()) return;
  byId("welcome").hidden = true;
  byId("text").value = "";
  giveResults();
  history.push({ role: "user", content: text });
  add(turn("user", "You", shownText(text)));
  byId("text").focus();
  await answer();
}

async function sendResults() {
  if (running || !knobsAreRight()) return;
  giveResults();
  byId("text").focus();
  await answer();
}

/** Add the results of tool calls to the chat, if it waits for them. */
function giveResults() {
  history.push(...(results?.messages() ?? []));
  results?.close();
  results = null;
}

async function answer() {
  const chat = history;
  for (const again of byId("log").querySelectorAll(".again")) again.remove();
  const shape = answerShape(turn, () => follow());
  add(shape.whole);
  working(new AbortController());
  const asked = request();
  const outcome = await stream(shape, asked);
  working(null);
  if (chat !== history) return; // a new chat has begun meanwhile
  shape.finish();
  newest = { ...asked, answer: outcome.problem ? null : message(outcome) };
  byId("copy-chat").hidden = false;
  showMiss(shape, outcome, asked.version);
  if (outcome.problem) giveBack(shape, outcome);
  else accept(shape, outcome);
  follow(true);
}

function accept(shape, outcome) {
  history.push(newest.answer);
  if (!outcome.calls.isEmpty) {
    results = resultsForm(outcome.calls.shown(), sendResults);
    shape.meta.before(results.form);
  }
  shape.meta.append(...facts(outcome), againButton(shape));
  byId("telling").textContent = outcome.stopped ? "Stopped" : "Answered";
}

/** The message of an answer, as the next request has it. */
const message = ({ text, calls }) =>
  calls.isEmpty ? { role: "assistant", content: text } : { role: "assistant", content: text || null, tool_calls: calls.sent() };

/** Send a request and show the answer as it arrives. Returns the text, the usage, and the outcome. */
async function stream(shape, { body, headers, version }) {
  const outcome = { text: "", calls: new Calls(), rung: null, usage: null, first: null, ended: null, stopped: false, problem: null };
  const began = performance.now();
  try {
    const response = await post("v1/chat/completions", body, headers, running.signal);
    outcome.rung = response.headers.get("x-mimic-match");
    shape.meta.append(...origin(response.headers, version));
    for await (const { choices, usage } of events(response)) {
      outcome.usage ??= usage;
      outcome.ended ??= choices[0]?.finish_reason;
      const { content, tool_calls: pieces } = choices[0]?.delta ?? {};
      if (content || pieces) outcome.first ??= performance.now() - began;
      if (pieces) {
        outcome.calls.add(pieces);
        shape.showCalls(outcome.calls.shown());
      }
      if (!content) continue;
      outcome.text += content;
      shape.append(content);
    }
  } catch (problem) {
    outcome.stopped = problem.name === "AbortError";
    if (!outcome.stopped && !(problem instanceof Problem)) throw problem;
    if (!outcome.stopped || !outcome.text) outcome.problem = problem;
  }
  return outcome;
}

/** Show the most similar messages if no message of the corpus matched. */
function showMiss(shape, { rung, problem, calls }, version) {
  const { role, content } = history.at(-1);
  const isMiss = problem ? problem.code === "completion_not_found" : rung === "none" && calls.isEmpty;
  if (isMiss && role === "user") showSimilar(shape.whole, content, version, say).then(() => follow());
}

/** Show the problem of a failed answer. A message returns to the composer; results of tools are sent again. */
function giveBack(shape, { problem, text: came, calls }) {
  const similar = shape.whole.querySelector(".similar");
  if (!came && calls.isEmpty) shape.whole.replaceChildren();
  if (problem.name === "AbortError") shape.whole.append(element("p", { class: "hint" }, calls.isEmpty ? "Stopped before the first token." : "Stopped."));
  else {
    shape.whole.append(problemShape(problem));
    showProblem(problem);
  }
  if (similar) shape.whole.append(similar);
  if (history.at(-1).role === "user") returnToComposer(history.pop().content);
  else shape.whole.append(againButton(shape));
  byId("telling").textContent = "No answer";
}

function returnToComposer(content) {
  const text = byId("text");
  if (text.value) return;
  text.value = content;
  text.select(); // so that typing replaces it
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
    ...offered(),
  };
  return { body, headers: Object.fromEntries(given(headers)), version: body.model.replace("mimic-", "") };
}

const given = (fields) => Object.entries(fields).filter(([, text]) => text !== "");

function knobsAreRight() {
  if (byId("knobs").checkValidity()) return true;
  byId("settings").open = true;
  byId("knobs").querySelector(":invalid").closest("details").open = true;
  byId("knobs").reportValidity();
  return false;
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
    if (history.at(-1).role === "assistant") history.pop();
    results = null;
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
