// The official openai client for Node.js against a server: the base URL is the argument. Prints one JSON object.
import assert from "node:assert/strict";
import OpenAI from "openai";
import { zodResponseFormat, zodFunction } from "openai/helpers/zod";
import { z } from "zod";

const client = new OpenAI({ baseURL: process.argv.at(-1), apiKey: "none", maxRetries: 0, timeout: 60_000 });
const model = "any";
const question = [{ role: "user", content: "What is the capital of France?" }];
const found = {};

async function chat() {
  const made = await client.chat.completions.create({ model, messages: question, max_tokens: 12, temperature: 0 });
  assert.equal(made.object, "chat.completion");
  assert.ok(["stop", "length"].includes(made.choices[0].finish_reason));
  assert.equal(made.usage.total_tokens, made.usage.prompt_tokens + made.usage.completion_tokens);
  assert.ok(made._request_id.startsWith("req_"));
  return made.choices[0].message.content;
}

async function stream() {
  const events = await client.chat.completions.create({
    model, messages: question, max_tokens: 12, temperature: 0, stream: true, stream_options: { include_usage: true },
  });
  let text = "", usage = null;
  for await (const chunk of events) {
    text += chunk.choices[0]?.delta?.content ?? "";
    usage = chunk.usage ?? usage;
  }
  assert.ok(usage.completion_tokens > 0);
  return text;
}

async function helper() {
  const running = client.chat.completions.stream({ model, messages: question, max_tokens: 12, temperature: 0 });
  let pieces = 0;
  running.on("content", () => pieces++);
  const text = await running.finalContent();
  assert.ok(pieces > 1);
  return text;
}

async function abandoned() {
  const events = await client.completions.create({ model, prompt: "Count: 1, 2,", max_tokens: 500, stream: true });
  for await (const chunk of events) {
    assert.equal(chunk.object, "text_completion");
    break; // the client closes the connection; what comes after is answered all the same
  }
  return true;
}

const parameters = {
  type: "object", properties: { city: { type: "string", enum: ["Paris", "Rome"] } }, required: ["city"],
  additionalProperties: false,
};
const tools = [{ type: "function", function: { name: "weather", description: "The weather in a city", parameters } }];

async function calls() {
  const asked = { role: "user", content: "What is the weather in Paris?" };
  const options = { model, tools, temperature: 0, max_tokens: 100 };
  const first = await client.chat.completions.create({ ...options, messages: [asked], tool_choice: "required" });
  const { message, finish_reason } = first.choices[0];
  assert.equal(finish_reason, "tool_calls");
  assert.equal(message.tool_calls[0].type, "function");
  assert.ok(["Paris", "Rome"].includes(JSON.parse(message.tool_calls[0].function.arguments).city));
  const results = message.tool_calls.map((call) => ({ role: "tool", tool_call_id: call.id, content: "sunny, 25 °C" }));
  const second = await client.chat.completions.create({
    ...options, messages: [asked, message, ...results], tool_choice: "none", max_tokens: 20,
  });
  assert.ok(second.choices[0].message.content.length > 0);
  return message.tool_calls[0].function.name;
}

async function runTools() {
  let asked = null;
  const running = client.chat.completions.runTools({
    model, temperature: 0, max_tokens: 100, messages: [{ role: "user", content: "What is the weather in Rome?" }],
    tool_choice: { type: "function", function: { name: "weather" } },
    tools: [zodFunction({
      name: "weather", parameters: z.object({ city: z.enum(["Paris", "Rome"]) }),
      function: ({ city }) => { asked = city; return "sunny"; },
    })],
  });
  await running.finalFunctionToolCall();
  return asked;
}

async function parsed() {
  const Person = z.object({ name: z.string().max(20), age: z.number().int().min(0).max(120) });
  const made = await client.chat.completions.parse({
    model, messages: [{ role: "user", content: "Invent a person." }], temperature: 0, max_tokens: 100,
    response_format: zodResponseFormat(Person, "person"),
  });
  const value = made.choices[0].message.parsed;
  assert.deepEqual(Object.keys(value), ["name", "age"]);
  return Number.isInteger(value.age);
}

async function responses() {
  const options = { model, temperature: 0, max_output_tokens: 12 };
  const made = await client.responses.create({ ...options, input: "What is the capital of France?" });
  assert.equal(made.object, "response");
  assert.ok(made.output_text.length > 0);
  const kinds = [];
  let text = "";
  for await (const event of await client.responses.create({ ...options, input: question, stream: true })) {
    kinds.push(event.type);
    if (event.type === "response.output_text.delta") text += event.delta;
  }
  assert.equal(kinds[0], "response.created");
  assert.ok(["response.completed", "response.incomplete"].includes(kinds.at(-1)));
  assert.equal(text, made.output_text);
  const next = await client.responses.create({ ...options, previous_response_id: made.id, input: "And of Italy?" });
  assert.ok(next.usage.input_tokens > made.usage.input_tokens);
  await client.responses.delete(next.id);
  return (await client.responses.retrieve(made.id)).id === made.id;
}

async function embeddings() {
  const made = await client.embeddings.create({ model, input: ["hello", "you"] }); // base64 on the wire
  const plain = await client.embeddings.create({ model, input: ["hello", "you"], encoding_format: "float" });
  assert.equal(made.data.length, 2);
  made.data.forEach((entry, n) => entry.embedding.forEach(
    (value, i) => assert.ok(Math.abs(value - plain.data[n].embedding[i]) < 1e-5)));
  return made.data[0].embedding.length;
}

async function models() {
  const listed = [];
  for await (const entry of client.models.list()) listed.push(entry.id);
  return listed;
}

async function refused() {
  try {
    await client.chat.completions.create({ model, messages: question, temperature: -1 });
  } catch (error) {
    assert.ok(error instanceof OpenAI.BadRequestError);
    return error.param;
  }
  return null;
}

const tasks = { chat, stream, helper, abandoned, calls, runTools, parsed, responses, embeddings, models, refused };
for (const [name, task] of Object.entries(tasks)) {
  found[name] = await task().catch((error) => { throw new Error(`${name}: ${error.stack}`, { cause: error }); });
}
console.log(JSON.stringify(found));
