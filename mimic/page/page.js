// The page: reads the corpus, and connects the other modules.

import { Problem, get, key } from "./api.js";
import { prepareChat, propose, suggest } from "./chat.js";
import { prepareCopying } from "./code.js";
import { prepareConversation } from "./conversation.js";
import { showCorpus, suggestions } from "./corpus.js";
import { byId, element } from "./elements.js";
import { prepareJournal } from "./journal.js";
import { problemShape, showProblem } from "./problems.js";
import { prepareSearch, showWhetherSearchable } from "./search.js";

const MILLISECONDS_BETWEEN_LOOKS = 5000;

async function look() {
  try {
    const corpus = await get("corpus");
    const seeded = Object.keys(corpus.versions).length > 0;
    byId("notices").replaceChildren();
    byId("empty").hidden = seeded;
    byId("corpus").hidden = !seeded;
    if (!seeded) return lookLater();
    showCorpus(corpus, propose);
    showModels(await get("v1/models"), `mimic-${corpus.default_version}`);
    suggest(suggestions(corpus));
    showWhetherSearchable(corpus);
    byId("key").hidden = true;
    byId("chat").hidden = byId("search").hidden = byId("journal").hidden = false;
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    if (showProblem(problem)) return;
    byId("notices").replaceChildren(element("div", { class: "notice" }, problemShape(problem)));
    lookLater();
  }
}

const lookLater = () => setTimeout(look, MILLISECONDS_BETWEEN_LOOKS);

/** Show the models of the corpus. Models that are not seeded cannot be selected. */
function showModels({ data }, preferred) {
  const models = data.filter(({ id }) => /^mimic-v\d+$/.test(id));
  const seeded = models.filter(({ created }) => created > 0);
  const chosen = (seeded.find(({ id }) => id === preferred) ?? seeded[0])?.id;
  const options = models.map(({ id, created }) =>
    element("option", { value: id, disabled: !created, defaultSelected: id === chosen }, created ? id : `${id} (not seeded)`),
  );
  byId("model").replaceChildren(...options);
}

function prepareKey() {
  byId("key").onsubmit = (event) => {
    event.preventDefault();
    key.use(byId("key-text").value.trim());
    byId("key-text").value = "";
    look();
  };
}

function prepareKnobs() {
  const knobs = byId("knobs");
  const tell = () => {
    for (const output of knobs.querySelectorAll("output")) output.value = byId(output.htmlFor.value).value;
  };
  knobs.oninput = tell;
  knobs.onreset = () => setTimeout(tell);
  knobs.onsubmit = (event) => event.preventDefault();
  tell();
  if (matchMedia("(max-width: 60rem)").matches) byId("settings").open = false;
}

function prepareTheme() {
  const theme = byId("theme");
  const apply = () => (document.documentElement.dataset.theme = theme.value);
  theme.onchange = () => {
    apply();
    kept((storage) => storage.setItem("mimic-theme", theme.value));
  };
  theme.value = kept((storage) => storage.getItem("mimic-theme")) ?? "";
  apply();
}

/** Access the local storage; null if the browser has none. */
function kept(access) {
  try {
    return access(localStorage);
  } catch {
    return null;
  }
}

prepareTheme();
prepareKnobs();
prepareKey();
prepareConversation();
prepareChat();
prepareSearch();
prepareJournal();
prepareCopying();
await look();
