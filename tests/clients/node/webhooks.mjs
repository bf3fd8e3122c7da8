// Receives the event of a response in the background, and prints it as the Node SDK unwraps it.

import { createServer } from "node:http";
import OpenAI from "openai";

const client = new OpenAI({ maxRetries: 0 });
const event_types = ["response.completed", "response.incomplete"];

// The first request to a server: its body and headers.
const receiver = createServer();
const first = new Promise((resolve) => {
  receiver.on("request", async (request, answer) => {
    let body = "";
    for await (const piece of request) body += piece;
    answer.writeHead(204).end();
    resolve({ body, headers: request.headers });
  });
});
await new Promise((resolve) => receiver.listen(0, "127.0.0.1", resolve));

const url = `http://127.0.0.1:${receiver.address().port}/hooks`;
const endpoint = await client.webhooks.create({ name: "node", url, event_types });
const response = await client.responses.create({ model: "mimic-v3", input: "hi", background: true });
const { body, headers } = await first;
receiver.close();

const event = await client.webhooks.unwrap(body, headers, endpoint.signing_secret);
let error = "";
try {
  await client.webhooks.unwrap(body.replace("resp_", "resp_x"), headers, endpoint.signing_secret);
} catch (failure) {
  error = failure.constructor.name;
}
const listed = (await client.webhooks.list()).data.map((one) => one.id);
await client.webhooks.delete(endpoint.id);
console.log(JSON.stringify({ event, error, listed, endpoint: endpoint.id, response: response.id }));
