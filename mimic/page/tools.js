// Tools that the page offers, and the results of their calls.

import { foldedBlock } from "./code.js";
import { byId, element } from "./elements.js";

const EXAMPLE = [
  {
    name: "get_weather",
    description: "The weather in a city",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
];

/** Wire the box for tools. */
export function prepareTools() {
  const box = byId("tools");
  box.oninput = () => box.setCustomValidity(problemOf(box.value));
  byId("example-tools").onclick = () => {
    box.value = JSON.stringify(EXAMPLE, null, 2);
    box.oninput();
    box.focus();
  };
  byId("knobs").addEventListener("reset", () => box.setCustomValidity(""));
}

/** The fields of a request for the tools of the box. */
export function offered() {
  const tools = parsed(byId("tools").value);
  return tools.length ? { tools, tool_choice: byId("tool-choice").value } : {};
}

/** The tools of a text: one, or an array. A function without the `type` around it is enough. */
function parsed(text) {
  if (!text.trim()) return [];
  return [JSON.parse(text)].flat().map((tool) => (tool?.type && (tool.function || tool.custom) ? tool : { type: "function", function: tool }));
}

function problemOf(text) {
  try {
    const isRight = parsed(text).every((tool) => typeof (tool.function ?? tool.custom)?.name === "string");
    return isRight ? "" : "Each tool is a JSON object with a name.";
  } catch {
    return "This is not JSON: write a tool, or an array of tools.";
  }
}

/** Tool calls from the pieces of a stream. */
export class Calls {
  #calls = [];

  get isEmpty() {
    return !this.#calls.length;
  }

  add(pieces) {
    for (const { index, id, type, function: called, custom } of pieces) {
      const call = (this.#calls[index] ??= { id, type: type ?? "function", name: "", input: "" });
      const { name, arguments: given, input } = called ?? custom ?? {};
      call.name = name || call.name;
      call.input += given ?? input ?? "";
    }
  }

  /** The name and the arguments of each call. */
  shown() {
    return this.#calls;
  }

  /** The calls as a message of the chat has them. */
  sent() {
    return this.#calls.map(({ id, type, name, input }) =>
      type === "custom" ? { id, type, custom: { name, input } } : { id, type, function: { name, arguments: input } },
    );
  }
}

/** The number of forms, for their ids. */
let forms = 0;

/** A form for the results of calls. `messages` are the results for the chat; `close` shows them in place of the form. */
export function resultsForm(calls, onSend) {
  forms++;
  const boxes = calls.map(({ name }, number) => {
    const id = `result-${forms}-${number}`;
    const box = element("textarea", { id, rows: 1, placeholder: '{"…": "…"}', spellcheck: false });
    return { box, field: element("div", { class: "field" }, element("label", { htmlFor: id }, "Result of ", element("bdi", {}, name)), box) };
  });
  const onsubmit = (event) => {
    event.preventDefault();
    onSend();
  };
  const button = element("button", { class: "quiet" }, calls.length > 1 ? "Send the results" : "Send the result");
  const form = element("form", { class: "results", onsubmit }, ...boxes.map(({ field }) => field), button);
  return {
    form,
    messages: () => calls.map(({ id }, number) => ({ role: "tool", tool_call_id: id, content: boxes[number].box.value })),
    close: () => form.replaceWith(...calls.map(({ name }, number) => resultBlock(name, boxes[number].box.value))),
  };
}

/** The result of a tool, which can be folded. */
export const resultBlock = (name, text) => foldedBlock(["Result", ...(name ? [" of ", element("bdi", {}, name)] : [])], text || "(empty)");
