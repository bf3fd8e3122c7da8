// The shape of an answer: its text as Markdown, as JSON, or as it is, and its tool calls.

import { foldedBlock, isJson } from "./code.js";
import { byId, directionOf, element, number, patch } from "./elements.js";
import { MarkdownView } from "./markdown.js";

/** Characters of an answer to show. The whole answer is kept. */
export const LONGEST_SHOWN = 100_000;

/** A painting is followed by a pause of this many times its length, so that a long answer leaves time for clicks. */
const PAUSE = 3;

/** The beginning of JSON, also of JSON that a limit of tokens cuts. */
const BEGINS_AS_JSON = /^\s*(?:\{\s*(?:"|$)|\[\s*[{"])/;

/** The answers of the page, each by its element. */
const views = new WeakMap();

/** Show all answers as the checkbox for plain text says. */
export function preparePlainText() {
  const showAll = () => {
    for (const holder of byId("log").querySelectorAll(".answer > .text")) views.get(holder).showAgain();
  };
  byId("plain-text").onchange = showAll;
  byId("knobs").addEventListener("reset", () => setTimeout(showAll));
}

/**
 * The shape of an answer: `append` adds to its text, `showCalls` shows its tool calls, and `finish` ends it. `turn` makes
 * an element of the chat, and `onPaint` is called after each painting.
 */
export function answerShape(turn, onPaint) {
  const text = element("div", { class: "text waiting" });
  const calls = element("div", { class: "calls" });
  const meta = element("footer", { class: "meta" });
  const whole = turn("answer", "Mimic", text, calls, meta);
  whole.setAttribute("aria-busy", "true");
  const view = new TextView(text, onPaint);
  views.set(text, view);
  return {
    whole,
    meta,
    append: (added) => view.append(added),
    showCalls(asked) {
      text.hidden = !view.text;
      patch(calls, asked.map((call) => callBlock(call)));
      onPaint();
    },
    finish() {
      view.finish();
      if (!view.text && !calls.childElementCount) text.textContent = "(empty)";
      const rest = view.text.length - LONGEST_SHOWN;
      if (rest > 0) meta.append(element("span", {}, `${number(rest)} more characters are not shown`));
      whole.removeAttribute("aria-busy");
    },
  };
}

/** A tool call, which can be folded: the name of the tool, and its arguments or the input of a custom tool. */
export const callBlock = ({ name, input }) => foldedBlock(["Tool call ", element("code", {}, element("bdi", {}, name))], input);

/** A text that grows. It is painted once a frame at most. */
class TextView {
  text = "";
  #isWhole = false;
  #next = null;
  #pause = 0;
  #markdown = null;

  constructor(holder, onPaint) {
    this.holder = holder;
    this.onPaint = onPaint;
  }

  append(added) {
    this.text += added;
    this.#next ??= setTimeout(() => requestAnimationFrame(() => this.#paintInTime()), this.#pause);
  }

  finish() {
    this.#isWhole = true;
    this.#paint();
  }

  showAgain() {
    this.#markdown = null;
    this.#paint();
  }

  #paintInTime() {
    this.#next = null;
    if (this.#isWhole) return;
    const began = performance.now();
    this.#paint();
    this.#pause = PAUSE * (performance.now() - began);
  }

  #paint() {
    const shown = this.text.slice(0, LONGEST_SHOWN);
    const isMarkdown = !byId("plain-text").checked && !this.#isJson(shown);
    this.holder.dir = directionOf(shown);
    this.holder.classList.toggle("waiting", !this.#isWhole && !shown);
    this.holder.classList.toggle("markdown", isMarkdown);
    if (isMarkdown) this.#paintMarkdown(shown);
    else patch(this.holder, [this.#isJson(shown) ? foldedBlock(["JSON"], shown) : document.createTextNode(shown)]);
    this.onPaint();
  }

  #isJson(shown) {
    return !byId("plain-text").checked && (BEGINS_AS_JSON.test(shown) || (this.#isWhole && isJson(shown)));
  }

  #paintMarkdown(shown) {
    if (!this.#markdown) this.holder.replaceChildren();
    this.#markdown ??= new MarkdownView(this.holder);
    this.#markdown.show(shown, this.#isWhole);
  }
}
