// The panel with the conversation of a message.

import { callBlock } from "./answer.js";
import { get } from "./api.js";
import { foldedBlock, isJson } from "./code.js";
import { byId, element, number, plural } from "./elements.js";
import { resultBlock } from "./tools.js";

const PAGE = 50;
const BEFORE = 10;

let shown = null;

/**
 * Open the conversation of a document, at the message with this `position`. `id` is the expected id, or its
 * beginning: the corpus may have been replaced.
 */
export async function openConversation({ version, document: place, position, id }) {
  shown = { version, place, position, id, first: 0, next: null };
  byId("said").replaceChildren();
  byId("earlier").hidden = byId("later").hidden = true;
  byId("conversation-heading").textContent = "Conversation";
  tell("Reading …");
  if (!byId("conversation").open) byId("conversation").showModal();
  byId("conversation-heading").focus();
  await begin(shown);
}

/** Wire the buttons of the panel. */
export function prepareConversation() {
  const panel = byId("conversation");
  byId("close-conversation").onclick = () => panel.close();
  panel.onclick = (event) => event.target === panel && panel.close();
  byId("earlier").onclick = () => extend(earlier);
  byId("later").onclick = () => extend(later);
}

async function begin(asked) {
  try {
    const first = Math.max(0, asked.position - BEFORE);
    const found = await read(asked, first, PAGE);
    if (shown !== asked) return;
    if (beginning(asked.id) !== beginning(found.conversation ?? "")) {
      tell("The corpus was replaced since the page read it; this conversation is no longer in its place.");
      return;
    }
    asked.first = first;
    byId("conversation-heading").replaceChildren("Conversation ", element("bdi", {}, found.conversation ?? "without an id"));
    byId("said").append(...found.messages.map((message, index) => shape(message, first + index)));
    finish(found.next);
    byId("said").querySelector("[aria-current]")?.scrollIntoView({ block: "center" });
  } catch (problem) {
    if (shown === asked) tell(problem.message);
  }
}

async function extend(more) {
  const asked = shown;
  if (asked.reading) return; // a second click would repeat the same messages
  asked.reading = true;
  try {
    await more(asked);
  } catch (problem) {
    if (shown === asked) tell(problem.message);
  } finally {
    asked.reading = false;
  }
}

async function earlier(asked) {
  const first = Math.max(0, asked.first - PAGE);
  const found = await read(asked, first, asked.first - first);
  if (shown !== asked) return;
  const anchor = byId("said").firstElementChild;
  byId("said").prepend(...found.messages.map((message, index) => shape(message, first + index)));
  asked.first = first;
  finish(asked.next);
  anchor?.scrollIntoView({ block: "start" });
}

async function later(asked) {
  const first = asked.next;
  const found = await read(asked, first, PAGE);
  if (shown !== asked) return;
  byId("said").append(...found.messages.map((message, index) => shape(message, first + index)));
  finish(found.next);
}

const read = ({ version, place }, first, count) => get(`corpus/${version}/conversations/${place}`, { first, count });

function finish(next) {
  shown.next = next;
  byId("earlier").hidden = shown.first === 0;
  byId("later").hidden = next === null;
  const last = shown.first + byId("said").childElementCount;
  const whole = shown.first === 0 && next === null;
  tell(whole ? plural(last, "message") : `messages ${number(shown.first + 1)} to ${number(last)}${next === null ? ", the last one" : ""}`);
}

const LABELS = { call: " tool call", result: " tool result" };

function shape(message, position) {
  const { from, role, value, characters } = message;
  const rest = characters - [...value].length;
  const isIt = position === shown.position;
  return element(
    "li",
    { class: "said", attributes: isIt ? { "aria-current": "true" } : {} },
    element("p", { class: "who" }, element("bdi", {}, from || "(no name)"), element("span", { class: "hint" }, `${LABELS[role] ?? ""} #${position}`)),
    ...content(message),
    rest > 0 ? element("p", { class: "hint" }, `… and ${plural(rest, "more character")}`) : null,
  );
}

/** The text of a message as it is in the corpus; tool calls, their results, and JSON can be folded. */
function content({ role, value, tool_calls: calls }) {
  if (role === "call" && calls.length) return calls.map(({ name, arguments: given }) => callBlock({ name, input: given }));
  if (role === "result") return [resultBlock("", value)];
  return [isJson(value) ? foldedBlock(["JSON"], value) : element("div", { class: "text", dir: "auto" }, value || "(empty)")];
}

/** The part of an id that fits in a header. */
const beginning = (id) => [...id].slice(0, 100).join("");

function tell(text) {
  byId("conversation-outcome").textContent = text;
}
