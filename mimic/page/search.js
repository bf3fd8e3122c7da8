// A search of the corpus.

import { get } from "./api.js";
import { openConversation } from "./conversation.js";
import { byId, element, plural, quoted } from "./elements.js";
import { showProblem } from "./problems.js";

let newest = null;

/** Wire the search. */
export function prepareSearch() {
  byId("search-form").onsubmit = async (event) => {
    event.preventDefault();
    const mine = (newest = {});
    const outcome = byId("search-outcome");
    outcome.textContent = "Searching …";
    byId("results").replaceChildren();
    try {
      const version = byId("model").value.replace("mimic-", "");
      const found = await get("corpus/search", { q: byId("query").value, role: byId("search-role").value, version });
      if (mine !== newest) return; // a newer search has begun
      byId("results").append(...found.results.map((result) => shape(result, found.version)));
      outcome.textContent = found.results.length ? plural(found.results.length, "message") : "No answered message is similar.";
    } catch (problem) {
      if (mine !== newest) return;
      outcome.textContent = problem.message;
      showProblem(problem);
    }
  };
}

/** Show that a corpus cannot be searched, from the answer of `GET /corpus`. */
export function showWhetherSearchable({ versions, default_version: preferred }) {
  const entry = versions[preferred] ?? Object.values(versions)[0];
  const searchable = ["nearest", "meaning"].includes(entry.index?.depth);
  byId("search-outcome").textContent = searchable
    ? ""
    : "This corpus was seeded without the index for searches. To add the index, run `mimic seed FILE --match nearest`.";
}

function shape({ from, value, characters, score, conversation, document: place, position }, version) {
  const onclick = () => openConversation({ version, document: place, position, id: conversation ?? "" });
  const rest = characters > [...value].length ? "…" : "";
  const where = element("span", { class: "hint" }, element("bdi", {}, from), " in ", element("bdi", {}, `${conversation ?? "(no id)"}#${position}`));
  return element(
    "li",
    {},
    element("button", { type: "button", class: "link", title: "Open the conversation", onclick }, quoted(value + rest), where),
    element("span", { class: "value", title: "Similarity, from 0 to 1" }, score.toFixed(2)),
  );
}
