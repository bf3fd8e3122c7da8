// Files, uploads, batches and moderations with OpenAI's SDK, on the server that OPENAI_BASE_URL names. Prints all outcomes
// as one JSON.

import OpenAI, { toFile } from "openai";

const client = new OpenAI({ maxRetries: 0 });
const url = "/v1/chat/completions";

const file = (text, name) => toFile(Buffer.from(text), name);
const textOf = async (id) => (await client.files.content(id)).text();
const body = (content) => ({ model: "gpt-4o-mini", messages: [{ role: "user", content }], temperature: 0 });
const line = (content, n) => JSON.stringify({ custom_id: `id-${n}`, method: "POST", url, body: body(content) });

async function files() {
  const expires_after = { anchor: "created_at", seconds: 3600 };
  const made = await client.files.create({ file: await file("hello", "a.txt"), purpose: "user_data", expires_after });
  const content = await textOf(made.id);
  const listed = [];
  for await (const one of client.files.list({ purpose: "user_data", limit: 1 })) listed.push(one.id);
  const { deleted } = await client.files.delete(made.id);
  return { content, listed: listed.includes(made.id), deleted, lives: made.expires_at - made.created_at };
}

async function uploads() {
  const announced = { bytes: 10, filename: "b.txt", mime_type: "text/plain", purpose: "user_data" };
  const upload = await client.uploads.create(announced);
  const part = async (text) => (await client.uploads.parts.create(upload.id, { data: await file(text, "p") })).id;
  const part_ids = [await part("hello"), await part("world")];
  const done = await client.uploads.complete(upload.id, { part_ids });
  return { status: done.status, content: await textOf(done.file.id) };
}

async function batches(contents) {
  const lines = await file(contents.map(line).join("\n"), "c.jsonl");
  const { id } = await client.files.create({ file: lines, purpose: "batch" });
  let batch = await client.batches.create({ input_file_id: id, endpoint: url, completion_window: "24h" });
  while (["validating", "in_progress", "finalizing"].includes(batch.status)) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    batch = await client.batches.retrieve(batch.id);
  }
  const output = (await textOf(batch.output_file_id)).trim().split("\n").map(JSON.parse);
  const texts = output.map((one) => [one.custom_id, one.response.body.choices[0].message.content]);
  return { status: batch.status, counts: batch.request_counts, texts };
}

async function moderations() {
  const { results } = await client.moderations.create({ input: ["hello", "I want to kill them."] });
  return results.map((result) => [result.flagged, result.categories.violence]);
}

const outcomes = {
  files: await files(),
  uploads: await uploads(),
  batches: await batches(process.argv.slice(2)),
  moderations: await moderations(),
};
console.log(JSON.stringify(outcomes));
