// The messages of the corpus that are most like a message without a match.

import { Problem, get } from "./api.js";
import { element, quoted } from "./elements.js";

const MOST = 5;

/** Characters of a search. */
const LONGEST_QUERY = 2000;

/** Add the most similar messages to an answer. `onAsk` is called with the message that the reader picks. */
export async function showSimilar(answer, text, version, onAsk) {
  const list = element("ol", {});
  const hint = element("p", { class: "hint" }, "Searching for similar messages …");
  const heading = element("h4", {}, "The most similar messages");
  answer.append(element("section", { class: "similar", attributes: { "aria-label": "The most similar messages" } }, heading, list, hint));
  try {
    const { results } = await get("corpus/search", { q: text.slice(0, LONGEST_QUERY), role: "user", version, limit: MOST });
    list.append(...results.map((result) => shape(result, version, onAsk)));
    hint.textContent = results.length ? "The score is the similarity, from 0 to 1. A click asks the message." : "No message of the corpus shares a word with this one.";
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    hint.textContent = problem.message;
  }
}

function shape(result, version, onAsk) {
  const { value, characters, score } = result;
  const rest = characters > [...value].length ? "…" : "";
  const onclick = async () => onAsk(rest ? await whole(result, version) : value);
  return element(
    "li",
    {},
    element("button", { type: "button", class: "link", title: "Ask this message", onclick }, quoted(value + rest)),
    element("span", { class: "value", title: "Similarity, from 0 to 1" }, score.toFixed(2)),
  );
}

/** The text of a message that a search shows only the beginning of. */
async function whole({ value, document: place, position }, version) {
  const found = await get(`corpus/${version}/conversations/${place}`, { first: position, count: 1 }).catch(() => null);
  return found?.messages[0]?.value ?? value;
}
