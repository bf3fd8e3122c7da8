// The panel with the chat as code.

import { codeBlock } from "./code.js";
import { byId } from "./elements.js";
import { snippets } from "./snippets.js";

const LANGUAGES = { curl: "sh", python: "Python", pytest: "Python" };

let sources = {};

/** Wire the panel. */
export function prepareSnippets() {
  const panel = byId("copying");
  byId("close-copying").onclick = () => panel.close();
  panel.onclick = (event) => event.target === panel && panel.close();
  byId("copy-as").onchange = show;
}

/** Show a request as code. `answer` is the message of its answer, or null. */
export function showSnippets({ body, headers, answer, hasKey }) {
  sources = snippets({ body, headers, answer, hasKey, base: new URL("v1", document.baseURI).href });
  const select = byId("copy-as");
  for (const option of select.options) option.disabled = !sources[option.value];
  if (!sources[select.value]) select.value = "curl";
  show();
  byId("copying").showModal();
}

function show() {
  const chosen = byId("copy-as").value;
  byId("snippet").replaceChildren(codeBlock(sources[chosen], LANGUAGES[chosen]));
  for (const note of byId("copying").querySelectorAll("[data-for]")) note.hidden = note.dataset.for !== chosen;
}
