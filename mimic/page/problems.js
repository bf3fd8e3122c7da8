// Problems, in the server's words.

import { key } from "./api.js";
import { byId, element } from "./elements.js";

/** A problem, shown in the place of an answer. */
export const problemShape = (problem) =>
  element(
    "div",
    { class: "problem", attributes: { role: "alert" } },
    element("p", { class: "text" }, problem.message),
    problem.code ? element("p", { class: "hint" }, element("code", {}, problem.code)) : null,
  );

/** Show the form for the key if the problem is a missing or wrong key. Returns true in this case. */
export function showProblem(problem) {
  if (problem.status !== 401) return false;
  byId("key").hidden = false;
  byId("key-problem").textContent = key.get() ? problem.message : "";
  byId("key-text").focus();
  return true;
}
