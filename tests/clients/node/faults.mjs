// Asks the server that OPENAI_BASE_URL names for each of the faults in the first argument, a JSON array, whole (or with
// "streamed" as the second argument, as a stream), all at once, and prints what came of each as one JSON.

import OpenAI from "openai";

const client = new OpenAI({ maxRetries: 1, timeout: 1000 });
const MOST_MILLISECONDS = 8000;

// What arrived, and what was raised.
async function outcome(fault, stream) {
  const pieces = [];
  const asked = { model: "mimic-v3", messages: [{ role: "user", content: "Name three colours" }], stream };
  try {
    const answer = await client.chat.completions.create(asked, { headers: { "x-mimic-fault": fault } });
    if (stream) {
      for await (const chunk of answer) pieces.push(chunk.choices[0].delta.content ?? "");
    } else {
      pieces.push(answer.choices[0].message.content);
    }
    return { text: pieces.join("") };
  } catch (error) {
    const { status, code, type, message } = error;
    return { text: pieces.join(""), raised: error.constructor.name, api: error instanceof OpenAI.APIError, status, code, type, message };
  }
}

// Or that nothing came of it for long.
async function outcomeInTime(fault, stream) {
  const late = new Promise((resolve) => setTimeout(resolve, MOST_MILLISECONDS, { raised: "nothing yet" }));
  return Promise.race([outcome(fault, stream), late]);
}

const faults = JSON.parse(process.argv[2]);
const outcomes = await Promise.all(faults.map((fault) => outcomeInTime(fault, process.argv[3] === "streamed")));
console.log(JSON.stringify(Object.fromEntries(faults.map((fault, index) => [fault, outcomes[index]]))));
process.exit(0); // what has not come yet is not waited for
