// The official Anthropic client for Node.js against a server: its address is the argument. Prints one JSON object.
import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";
import { betaZodTool } from "@anthropic-ai/sdk/helpers/beta/zod";
import { zodOutputFormat } from "@anthropic-ai/sdk/helpers/zod";
import { z } from "zod";

const client = new Anthropic({ baseURL: process.argv.at(-1), apiKey: "none", maxRetries: 0, timeout: 60_000 });
const model = "any";
const messages = [{ role: "user", content: "What is the capital of France?" }];
const short = { model, messages, max_tokens: 12, temperature: 0 };
const found = {};

async function whole() {
  const made = await client.messages.create({ ...short, system: "Be brief." });
  assert.deepEqual([made.type, made.role, made.model], ["message", "assistant", model]);
  assert.ok(["end_turn", "max_tokens"].includes(made.stop_reason));
  assert.ok(made.usage.input_tokens + made.usage.cache_read_input_tokens > 10);
  assert.ok(made._request_id);
  return made.content[0].text;
}

async function streamed() {
  let text = "";
  const kinds = [];
  for await (const event of await client.messages.create({ ...short, system: "Be brief.", stream: true })) {
    kinds.push(event.type);
    if (event.type === "content_block_delta") text += event.delta.text;
  }
  assert.deepEqual(kinds.slice(0, 2), ["message_start", "content_block_start"]);
  assert.deepEqual(kinds.slice(-3), ["content_block_stop", "message_delta", "message_stop"]);
  return text;
}

async function helper() {
  const running = client.messages.stream({ ...short, system: "Be brief." });
  let text = "";
  running.on("text", (delta, snapshot) => { text += delta; assert.equal(snapshot, text); });
  const message = await running.finalMessage();
  assert.ok(message.usage.output_tokens > 0);
  return message.content[0].text;
}

async function abandoned() {
  for await (const event of await client.messages.create({ ...short, max_tokens: 500, stream: true })) {
    assert.equal(event.type, "message_start");
    break; // the client closes the connection; what comes after is answered all the same
  }
  return true;
}

const city = { type: "object", properties: { city: { type: "string", enum: ["Paris", "Rome"] } }, required: ["city"] };
const tools = [{ name: "weather", description: "The weather in a city", input_schema: city }];

async function calls() {
  const asked = { role: "user", content: "What is the weather in Paris?" };
  const options = { ...short, tools, max_tokens: 100 };
  const first = await client.messages.create({ ...options, messages: [asked], tool_choice: { type: "any" } });
  assert.equal(first.stop_reason, "tool_use");
  const made = first.content.filter((block) => block.type === "tool_use");
  assert.ok(["Paris", "Rome"].includes(made[0].input.city));
  const content = made.map((call) => ({ type: "tool_result", tool_use_id: call.id, content: "sunny, 25 °C" }));
  const said = [asked, { role: "assistant", content: first.content }, { role: "user", content }];
  const second = await client.messages.create({
    ...options, messages: said, tool_choice: { type: "none" }, max_tokens: 20,
  });
  assert.equal(second.content[0].type, "text");
  return made[0].name;
}

async function toolRunner() {
  let asked = null;
  const weather = betaZodTool({
    name: "weather", description: "The weather in a city", inputSchema: z.object({ city: z.enum(["Paris", "Rome"]) }),
    run: (given) => { asked = given.city; return "sunny"; },
  });
  await client.beta.messages.toolRunner({
    ...short, max_tokens: 100, max_iterations: 2, tools: [weather], tool_choice: { type: "tool", name: "weather" },
  });
  return asked;
}

async function parsed() {
  const Answer = z.object({ city: z.enum(["Paris", "Rome"]), sure: z.boolean() });
  const made = await client.messages.parse({
    ...short, max_tokens: 60, output_config: { format: zodOutputFormat(Answer) },
  });
  return Object.keys(made.parsed_output);
}

async function counted() {
  const { input_tokens } = await client.messages.countTokens({ model, messages });
  const { usage } = await client.messages.create({ ...short, max_tokens: 1 });
  return input_tokens === usage.input_tokens + usage.cache_read_input_tokens;
}

async function models() {
  const listed = [];
  for await (const entry of client.models.list()) listed.push(entry.id);
  return listed;
}

async function refused() {
  try {
    await client.messages.create({ ...short, temperature: -1 });
  } catch (error) {
    assert.ok(error instanceof Anthropic.BadRequestError);
    return error.error.error.type;
  }
  return null;
}

const tasks = { whole, streamed, helper, abandoned, calls, toolRunner, parsed, counted, models, refused };
for (const [name, task] of Object.entries(tasks)) {
  found[name] = await task().catch((error) => { throw new Error(`${name}: ${error.stack}`, { cause: error }); });
}
console.log(JSON.stringify(found));
