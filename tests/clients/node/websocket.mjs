// Turns of one WebSocket, through OpenAI's SDK, on the server that OPENAI_BASE_URL names. Prints the events as one JSON.

import OpenAI from "openai";
import { ResponsesWS } from "openai/resources/responses/ws";

const socket = new ResponsesWS(new OpenAI({ maxRetries: 0 }));
const messages = socket.stream();

// The events of one answer.
async function ask(fields) {
  socket.send({ type: "response.create", model: "mimic-v3", store: false, ...fields });
  const events = [];
  for (;;) {
    const { value, done } = await messages.next();
    if (done) throw new Error("closed");
    if (value.type === "error") return [value.error.error]; // the event
    if (value.type !== "message") continue;
    events.push(value.message);
    if (["response.completed", "response.failed"].includes(value.message.type)) return events;
  }
}

const first = await ask({ input: "Tell me about the sea" });
const second = await ask({ input: "continue", previous_response_id: first.at(-1).response.id, stream_id: "fork" });
const error = await ask({ input: "hi", previous_response_id: "resp_0" });
socket.close();
console.log(JSON.stringify({ first, second, error }));
