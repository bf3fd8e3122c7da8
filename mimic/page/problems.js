// What goes wrong, as the server says it.

import { key } from "./api.js";
import { byId, element } from "./elements.js";

/** A problem in the place where an answer would be. */
export const problemShape = (problem) =>
  element(
    "div",
    { class: "problem", attributes: { role: "alert" } },
    element("p", { class: "text" }, problem.message),
    problem.code ? element("p", { class: "hint" }, element("code", {}, problem.code)) : null,
  );

/** What is to be done about a problem besides telling it: a key is asked for. Returns whether it was that. */
export function showProblem(problem) {
  if (problem.status !== 401) return false;
  byId("key").hidden = false;
  byId("key-problem").textContent = key.get() ? problem.message : "";
  byId("key-text").focus();
  return true;
}
