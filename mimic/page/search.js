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
      if (mine !== newest) return; // another search began, and may have been answered before
      byId("results").append(...found.results.map((result) => shape(result, found.version)));
      outcome.textContent = found.results.length ? plural(found.results.length, "message") : "Nothing that was answered is like that.";
    } catch (problem) {
      if (mine !== newest) return;
      outcome.textContent = problem.message;
      showProblem(problem);
    }
  };
}

/** Say from the start where a corpus, as `GET /corpus` describes it, cannot be searched. */
export function showWhetherSearchable({ versions, default_version: preferred }) {
  const entry = versions[preferred] ?? Object.values(versions)[0];
  const searchable = entry.index?.depth === "nearest";
  byId("search-outcome").textContent = searchable
    ? ""
    : "This corpus was seeded without the index that a search needs. To have it, run `mimic seed FILE --match nearest`.";
}

function shape({ from, value, characters, score, conversation, document: place, position }, version) {
  const onclick = () => openConversation({ version, document: place, position, id: conversation ?? "" });
  const rest = characters > [...value].length ? "…" : "";
  const where = element("span", { class: "hint" }, element("bdi", {}, from), " in ", element("bdi", {}, `${conversation ?? "(no id)"}#${position}`));
  return element(
    "li",
    {},
    element("button", { type: "button", class: "link", title: "Open its conversation", onclick }, quoted(value + rest), where),
    element("span", { class: "value", title: "How similar, from 0 to 1" }, score.toFixed(2)),
  );
}
