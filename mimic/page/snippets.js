// A request of the chat as a command of curl, as a Python program, and as a test for pytest.

/** Characters that are not seen in a terminal or an editor, or that change the order of others. */
const UNSEEN = /[\u007f-\u00a0\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202f\u205f-\u206f\ufeff\ufff9-\ufffb]/g;

/** Sources that run as they are. `answer` is the message of the answer, or null. */
export function snippets({ body, headers, answer, hasKey, base }) {
  const { stream, stream_options: _, ...fields } = wellFormed(body);
  const request = { fields, headers, hasKey, base };
  const calls = answer?.tool_calls?.map(called) ?? [];
  const isExact = answer && calls.every(({ arguments: given }) => typeof given === "object");
  return { curl: curlCommand(request), python: pythonProgram(request), pytest: isExact ? pytestTest(fields, wellFormed(answer)) : null };
}

/** The value without halves of characters, which UTF-8 cannot have. */
const wellFormed = (value) => JSON.parse(JSON.stringify(value), (_, part) => (typeof part === "string" ? part.toWellFormed() : part));

/** JSON, which is a literal of Python too if it is a string. */
const json = (value, indent) => JSON.stringify(value, null, indent).replace(UNSEEN, (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, "0")}`);

/** The body is a here-document, in which the shell changes nothing. Each of its lines begins with a space or a brace. */
function curlCommand({ fields, headers, hasKey, base }) {
  const sent = ["content-type: application/json", ...Object.entries(headers).map((pair) => pair.join(": "))];
  const address = `${base}/chat/completions`.replaceAll("'", "%27"); // URLs may have signs of the shell
  const lines = [`curl -s '${address}'`, ...sent.map((header) => `  -H '${header}'`)];
  if (hasKey) lines.push('  -H "authorization: Bearer $OPENAI_API_KEY"');
  return `${lines.join(" \\\n")} -d @- <<'END'\n${json(fields, 2)}\nEND\n`;
}

function pythonProgram({ fields, headers, hasKey, base }) {
  const key = hasKey ? "" : ', api_key="unused"';
  const extra = Object.keys(headers).length ? { extra_headers: headers } : {};
  return `${hasKey ? "# The key is in the environment: OPENAI_API_KEY\n" : ""}from openai import OpenAI

client = OpenAI(base_url=${json(base)}${key})
answer = client.chat.completions.create(
${given({ ...fields, ...extra }, 1)})
message = answer.choices[0].message
print(message.content or message.tool_calls)
`;
}

/** A test whose server has this conversation only. */
function pytestTest({ model, messages, tools, tool_choice: choice, max_tokens: most }, answer) {
  const asked = { model, messages, ...(tools && { tools, tool_choice: choice }), ...(most && { max_tokens: most }) };
  const talk = [...distinct(messages), answer].map(line);
  const calls = answer.tool_calls;
  return `${calls ? "import json\n\n" : ""}from openai import OpenAI

CONVERSATION = ${literal(talk, 0)}


def test_conversation(mimic_server):
    mimic_server([{"conversations": CONVERSATION}])
    answer = OpenAI().chat.completions.create(
${given(asked, 2)}    )
${calls ? sameCalls(calls) : `    assert answer.choices[0].message.content == ${json(answer.content)}\n`}`;
}

function sameCalls(calls) {
  const expected = calls.map(({ function: { name, arguments: given } }) => [name, given]);
  return `    calls = [call.function for call in answer.choices[0].message.tool_calls]
    expected = ${literal(expected, 1)}
    assert [[call.name, json.loads(call.arguments)] for call in calls] == [
        [name, json.loads(given)] for name, given in expected
    ]
`;
}

/** The messages, or the last two if the last one occurs twice: it could have several answers then. */
function distinct(messages) {
  const last = JSON.stringify(messages.at(-1));
  return messages.filter((message) => JSON.stringify(message) === last).length > 1 ? messages.slice(-2) : messages;
}

const SENDERS = { system: "system", user: "human", assistant: "gpt", tool: "observation" };

/** A message of the chat as a dump has it. */
function line({ role, content, tool_calls: calls }) {
  if (!calls?.length) return { from: SENDERS[role], value: content ?? "" };
  const made = calls.map(called);
  return { from: "function_call", value: JSON.stringify(made.length > 1 ? made : made[0]) };
}

/** A tool call as a dump has it. Arguments that are no JSON, as those of a custom tool, are a text. */
function called({ function: { name, arguments: given } = {}, custom }) {
  if (custom) return { name: custom.name, arguments: custom.input };
  try {
    return { name, arguments: JSON.parse(given) };
  } catch {
    return { name, arguments: given };
  }
}

const given = (fields, level) =>
  Object.entries(fields).map(([name, value]) => `${"    ".repeat(level)}${name}=${literal(value, level)},\n`).join("");

/** A value of JSON as a literal of Python. */
function literal(value, level) {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return json(value);
  const isArray = Array.isArray(value);
  const items = isArray ? value.map((item) => literal(item, level + 1)) : Object.entries(value).map(([name, item]) => `${json(name)}: ${literal(item, level + 1)}`);
  const [open, close] = isArray ? "[]" : "{}";
  if (!items.length) return open + close;
  const inner = "    ".repeat(level + 1);
  return `${open}\n${items.map((item) => `${inner}${item},\n`).join("")}${"    ".repeat(level)}${close}`;
}
