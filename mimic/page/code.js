// Code and JSON, with a button that copies them.

import { byId, element } from "./elements.js";

/** Characters of JSON to indent, and its levels. Larger texts are shown as they are. */
const LONGEST_INDENTED = 200_000;
const MOST_LEVELS = 50;

/** A block of code, with its language and a button. */
export const codeBlock = (code, language = "") =>
  element(
    "div",
    { class: "code" },
    element(
      "div",
      { class: "code-bar" },
      element("span", { class: "hint" }, element("bdi", {}, language)),
      element("button", { type: "button", class: "quiet copy", attributes: { "aria-label": "Copy the code" } }, "Copy"),
    ),
    element("pre", { tabIndex: 0 }, element("code", {}, code)),
  );

/** JSON, or any other text of a tool, that can be folded. `label` names it. */
export const foldedBlock = (label, text) =>
  element("details", { class: "folded", open: true }, element("summary", {}, ...label), codeBlock(indented(text)));

/** True for a JSON object or array. */
export function isJson(text) {
  if (!/^\s*[[{]/.test(text)) return false;
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** A JSON object or array with line breaks. Its names, texts, and numbers stay as they are written. */
export function indented(text) {
  if (text.length > LONGEST_INDENTED || !isJson(text)) return text;
  const parts = [];
  let level = 0;
  for (const [token] of text.matchAll(/"[^"\\]*(?:\\.[^"\\]*)*"|[[\]{}:,]|[^\s[\]{}:,"]+/g)) {
    const isEmpty = /[[{]\n\s*$/.test(parts.at(-1) ?? "") && "]}".includes(token);
    if ("]}".includes(token)) parts.push(isEmpty ? parts.pop()[0] + token : line(--level) + token);
    else if ("[{".includes(token)) parts.push(token + line(++level));
    else if (token === ",") parts.push(token + line(level));
    else parts.push(token === ":" ? ": " : token);
    if (isEmpty) level--;
    if (level > MOST_LEVELS) return text;
  }
  return parts.join("");
}

const line = (level) => `\n${"  ".repeat(level)}`;

/** Copy the code of the pressed button, wherever it is in the page. */
export function prepareCopying() {
  document.addEventListener("click", async ({ target }) => {
    const button = target.closest("button.copy");
    if (!button) return;
    const copied = await copy(button.closest(".code").querySelector("code").textContent);
    const said = copied ? "Copied" : "Select and copy it by hand";
    button.textContent = byId("telling").textContent = said;
    setTimeout(() => (button.textContent = "Copy"), 2000);
  });
}

/** Put a text on the clipboard. Pages without HTTPS have no clipboard, except on this machine. */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copySelected(text);
  }
}

function copySelected(text) {
  const focused = document.activeElement;
  const area = element("textarea", { class: "unseen", value: text });
  (document.querySelector("dialog[open]") ?? document.body).append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  focused?.focus();
  return copied;
}
