// Loops of tools and objects by a schema, from the server that OPENAI_BASE_URL names: OpenAI's SDK, then the Vercel AI SDK
// with each of its two providers, of which OpenAI's uses responses by default. Prints all outcomes as one JSON.

import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { Output, generateObject, generateText, stepCountIs, streamObject, streamText, tool } from "ai";
import OpenAI from "openai";
import { zodFunction, zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

const client = new OpenAI({ maxRetries: 0 });
const model = "gpt-4o-mini";
const City = z.object({ city: z.string() });
const Person = z.object({ name: z.string(), age: z.number().int() });
const description = "Get the weather of a city.";
const weather = "What is the weather in San Francisco, CA?";
const john = "John Doe is 42 years old";

// The question of a chat, as its messages.
const asking = (content) => [{ role: "user", content }];

async function parsed() {
  const asked = { model, messages: asking(john), response_format: zodResponseFormat(Person, "person") };
  const whole = await client.chat.completions.parse(asked);
  const streamed = await client.chat.completions.stream(asked).finalChatCompletion();
  return [whole, streamed].map((completion) => completion.choices[0].message.parsed);
}

async function runTools(stream) {
  const asked = [];
  const getWeather = ({ city }) => {
    asked.push(city);
    return `It is sunny in ${city}`;
  };
  const tools = [zodFunction({ name: "get_weather", description, parameters: City, function: getWeather })];
  const runner = client.chat.completions.runTools({ model, stream, messages: asking(weather), tools });
  return { text: await runner.finalContent(), asked };
}

async function objectsOf(model) {
  const asked = { model, schema: Person, prompt: john, maxRetries: 0 };
  const stream = streamObject(asked);
  for await (const _ of stream.partialObjectStream); // which the object waits for
  const output = Output.object({ schema: Person });
  return [
    (await generateObject(asked)).object,
    await stream.object,
    (await generateText({ model, output, prompt: john, maxRetries: 0 })).output,
    (await generateObject({ ...asked, output: "array" })).object[0],
  ];
}

async function loopsOf(model) {
  const asked = [];
  const execute = async ({ city }) => {
    asked.push(city);
    return `It is sunny in ${city}`;
  };
  const tools = { get_weather: tool({ description, inputSchema: City, execute }) };
  const options = { model, tools, stopWhen: stepCountIs(5), prompt: weather, maxRetries: 0 };
  const whole = await generateText(options);
  const stream = streamText(options);
  let text = "";
  for await (const piece of stream.textStream) text += piece;
  return { texts: [whole.text, text], steps: [whole.steps.length, (await stream.steps).length], asked };
}

const baseURL = process.env.OPENAI_BASE_URL;
const options = { name: "mimic", baseURL, apiKey: "unused", supportsStructuredOutputs: true };
const openai = createOpenAI({ baseURL });
const models = {
  compatible: createOpenAICompatible(options)(model),
  openai: openai(model),
  "openai chat": openai.chat(model),
};
const vercel = {};
for (const [name, one] of Object.entries(models)) vercel[name] = { objects: await objectsOf(one), loops: await loopsOf(one) };

console.log(JSON.stringify({ parsed: await parsed(), tools: [await runTools(false), await runTools(true)], vercel }));
