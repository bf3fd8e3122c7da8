// Assistants, threads and runs with OpenAI's SDK, on the server that OPENAI_BASE_URL names. Prints all outcomes as one JSON.

import OpenAI from "openai";

const client = new OpenAI({ maxRetries: 0 });
const { threads, assistants } = client.beta;
const haiku = [{ role: "user", content: "Write a haiku about the sea" }];
const weather = [{ role: "user", content: "What is the weather in Paris and Rome?" }];
const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const tools = [{ type: "function", function: { name: "get_weather", description: "Get the weather of a city.", parameters } }];

const output = (call) => ({ tool_call_id: call.id, output: `It is sunny in ${JSON.parse(call.function.arguments).city}` });
const outputsOf = (run) => run.required_action.submit_tool_outputs.tool_calls.map(output);
const newest = async (thread) => (await threads.messages.list(thread)).data[0].content[0].text.value;

async function polled() {
  const bot = await assistants.create({ model: "gpt-4o", tools });
  const first = await threads.createAndRunPoll({ assistant_id: bot.id, thread: { messages: weather } });
  const { id, thread_id } = first;
  const second = await threads.runs.submitToolOutputsAndPoll(id, { thread_id, tool_outputs: outputsOf(first) });
  const text = await newest(thread_id);
  await threads.messages.create(thread_id, haiku[0]);
  const third = await threads.runs.createAndPoll(thread_id, { assistant_id: "asst_any" });
  return { states: [first, second, third].map((run) => run.status), text, next: await newest(thread_id) };
}

async function streamed() {
  const seen = { pieces: [], calls: [] };
  const follow = (stream) =>
    stream
      .on("textDelta", (delta) => seen.pieces.push(delta.value))
      .on("toolCallDone", (call) => seen.calls.push(JSON.parse(call.function.arguments).city));
  const first = follow(threads.createAndRunStream({ assistant_id: "asst_any", thread: { messages: weather }, tools }));
  const run = await first.finalRun();
  const more = { thread_id: run.thread_id, tool_outputs: outputsOf(run) };
  const second = follow(threads.runs.submitToolOutputsStream(run.id, more));
  const [message] = await second.finalMessages();
  return { ...seen, text: message.content[0].text.value };
}

async function cancelled() {
  const { id } = await threads.create({ messages: haiku });
  const headers = { "x-mimic-ttft-ms": "20000" };
  const run = await threads.runs.create(id, { assistant_id: "asst_any" }, { headers });
  await threads.runs.cancel(run.id, { thread_id: id });
  return (await threads.runs.poll(run.id, { thread_id: id })).status;
}

async function withoutVectorStores() {
  return client.vectorStores.create({ name: "files" }).then(() => null, (error) => error.message);
}

const outcomes = {
  polled: await polled(),
  streamed: await streamed(),
  cancelled: await cancelled(),
  vectorStores: await withoutVectorStores(),
};
console.log(JSON.stringify(outcomes));
