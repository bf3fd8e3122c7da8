// Asks the server that OPENAI_BASE_URL names in every way the Node SDK has, and prints all that came back as one JSON.

import OpenAI from "openai";

const client = new OpenAI({ maxRetries: 0 });
const model = "mimic-v3";
const temperature = 0;

// The question of a chat, as its messages.
const asking = (content) => [{ role: "user", content }];

// All that an async iterable gives.
async function collect(iterable) {
  const items = [];
  for await (const item of iterable) items.push(item);
  return items;
}

async function complete() {
  const { data, response, request_id } = await client.chat.completions
    .create({ model, temperature, messages: asking("hi") })
    .withResponse();
  return { completion: data, request_id, match: response.headers.get("x-mimic-match") };
}

async function streamed() {
  const options = { stream: true, stream_options: { include_usage: true } };
  return collect(await client.chat.completions.create({ model, temperature, messages: asking("hi"), ...options }));
}

async function helped() {
  const stream = client.chat.completions.stream({
    model,
    messages: asking("Tell me about the sea"),
    stream_options: { include_usage: true },
  });
  const pieces = [];
  stream.on("content", (piece) => pieces.push(piece));
  return {
    content: await stream.finalContent(),
    completion: await stream.finalChatCompletion(),
    usage: await stream.totalUsage(),
    pieces,
  };
}

async function several() {
  const completion = await client.chat.completions.create({ model, n: 3, messages: asking("hi") });
  const stream = client.chat.completions.stream({ model, n: 3, messages: asking("hi") });
  return [completion, await stream.finalChatCompletion()];
}

async function legacy() {
  const asked = { model, temperature, prompt: "hi" };
  return {
    completion: await client.completions.create(asked),
    chunks: await collect(await client.completions.create({ ...asked, stream: true })),
  };
}

async function models() {
  return { list: await collect(client.models.list()), one: await client.models.retrieve(model) };
}

async function embeddings() {
  const asked = { model: "mimic-embedding", input: ["hi", "the sea"], dimensions: 8 };
  return {
    base64: await client.embeddings.create(asked),
    float: await client.embeddings.create({ ...asked, encoding_format: "float" }),
  };
}

// What a call that must fail raises.
async function failure(call) {
  try {
    await call;
  } catch (error) {
    if (!(error instanceof OpenAI.APIError)) throw error;
    const { status, code, param, type, message, requestID } = error;
    return { name: error.constructor.name, status, code, param, type, message, request_id: requestID };
  }
  throw new Error("nothing was raised");
}

const errors = {
  never_said: await failure(client.chat.completions.create({ model, messages: asking("never said") })),
  temperature: await failure(client.chat.completions.create({ model, temperature: 3, messages: asking("hi") })),
  model: await failure(client.models.delete("nobody")),
  streamed: await failure(client.chat.completions.create({ model, stream: true, messages: asking("never said") })),
  helped: await failure(client.chat.completions.stream({ model, messages: asking("never said") }).finalContent()),
};

console.log(
  JSON.stringify({
    complete: await complete(),
    streamed: await streamed(),
    helped: await helped(),
    several: await several(),
    legacy: await legacy(),
    models: await models(),
    embeddings: await embeddings(),
    errors,
  }),
);
