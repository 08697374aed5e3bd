// The official openai client for Node.js and the Responses API: the base URL is the argument. Prints one JSON object.
import assert from "node:assert/strict";
import OpenAI from "openai";
import { zodResponsesFunction, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

const client = new OpenAI({ baseURL: process.argv.at(-1), apiKey: "none", maxRetries: 0, timeout: 60_000 });
const model = "any";
const asked = { model, input: "What is the capital of France?", temperature: 0, max_output_tokens: 12 };
const found = {};

async function whole() {
  const made = await client.responses.create(asked);
  assert.equal(made.object, "response");
  assert.ok(["completed", "incomplete"].includes(made.status));
  assert.equal(made.usage.total_tokens, made.usage.input_tokens + made.usage.output_tokens);
  return made.output_text;
}

async function streamed() {
  let text = "", number = 0;
  for await (const event of await client.responses.create({ ...asked, stream: true })) {
    assert.equal(event.sequence_number, number++);
    if (event.type === "response.output_text.delta") text += event.delta;
  }
  return text;
}

async function helper() {
  const running = client.responses.stream(asked);
  running.on("response.output_text.delta", (event) => assert.ok(event.snapshot.endsWith(event.delta)));
  return (await running.finalResponse()).output_text;
}

async function conversation() {
  const first = await client.responses.create({ ...asked, input: "My name is Ada." });
  const second = await client.responses.create({ ...asked, previous_response_id: first.id });
  assert.deepEqual((await client.responses.retrieve(second.id)).output, second.output);
  const items = [];
  for await (const item of client.responses.inputItems.list(second.id, { order: "asc", limit: 1 })) items.push(item);
  await client.responses.delete(first.id);
  await assert.rejects(client.responses.retrieve(first.id), OpenAI.NotFoundError);
  return items.map((item) => item.content[0].text);
}

async function parsed() {
  const Person = z.object({ name: z.string().max(20), age: z.number().int().min(0).max(120) });
  const made = await client.responses.parse({
    ...asked, input: "Invent a person.", max_output_tokens: 100, text: { format: zodTextFormat(Person, "person") },
  });
  return Object.keys(made.output_parsed);
}

async function calls() {
  const weather = zodResponsesFunction({ name: "weather", parameters: z.object({ city: z.enum(["Paris", "Rome"]) }) });
  const input = [{ role: "user", content: "What is the weather in Paris?" }];
  const options = { ...asked, tools: [weather], max_output_tokens: 100 };
  const first = await client.responses.parse({ ...options, input, tool_choice: "required" });
  const made = first.output.filter((item) => item.type === "function_call");
  assert.ok(["Paris", "Rome"].includes(made[0].parsed_arguments.city));
  const outputs = made.map((item) => ({ type: "function_call_output", call_id: item.call_id, output: "sunny" }));
  const second = await client.responses.create({
    ...options, input: outputs, previous_response_id: first.id, tool_choice: "none", max_output_tokens: 12,
  });
  assert.ok(second.output_text.length > 0);
  return made[0].name;
}

async function background() {
  const made = await client.responses.create({ ...asked, background: true });
  const events = [];
  for await (const event of await client.responses.retrieve(made.id, { stream: true, starting_after: 1 })) {
    events.push(event);
  }
  assert.equal(events[0].sequence_number, 2);
  return events.at(-1).response.output[0].content[0].text;
}

const tasks = { whole, streamed, helper, conversation, parsed, calls, background };
for (const [name, task] of Object.entries(tasks)) {
  found[name] = await task().catch((error) => { throw new Error(`${name}: ${error.stack}`, { cause: error }); });
}
console.log(JSON.stringify(found));
