// Code blocks and the settings of the chat page.
import assert from "node:assert/strict";
import { test } from "node:test";
import { elements, inner, root } from "./dom.mjs";

const { Colours, codeBlock } = await import(`${process.env.PAGE}/code.js`);
const { parameters } = await import(`${process.env.PAGE}/settings.js`);
const { imported, options } = await import(`${process.env.PAGE}/store.js`);

const kinds = (language, ...lines) => {
  const colours = new Colours(language);
  return lines.map((line) => colours.line(line).filter(([kind]) => kind).map(([kind, text]) => `${kind}:${text}`).join(" "));
};

test("colours", () => {
  assert.deepEqual(kinds("python", 'def f(x): return "a#b" + 1 # note'), ['k:def f:f k:return s:"a#b" n:1 c:# note']);
  assert.deepEqual(kinds("py", 's = """a', "def", 'b""" + 2'), ['s:"""a', "s:def", 's:b""" n:2']);
  assert.deepEqual(kinds("js", "const a = `x", "if ${b}` // y", "/* 1", "2 */ 3"), ["k:const s:`x", "s:if ${b}` c:// y", "c:/* 1", "c:2 */ n:3"]);
  assert.deepEqual(kinds("sql", "SELECT 'x' FROM t -- all"), ["k:SELECT s:'x' k:FROM c:-- all"]);
  assert.deepEqual(kinds("html", '<a href="x">t</a>'), ['k:<a s:"x" k:> k:</a k:>']);
  assert.deepEqual(kinds("diff", "+a", "-b", " c"), ["s:+a", "d:-b", ""]);
  assert.deepEqual(kinds("text", "if 1"), [""]);
  assert.deepEqual(kinds("c", '#include "a.h"', "char c = '\\''; // it's"), ['k:include s:"a.h"', "k:char s:'\\'' c:// it's"]);
  assert.deepEqual(kinds("yaml", "a: don't # say"), ["c:# say"]);
});

test("no text is lost, whatever the language", () => {
  const lines = ["/* a", "*/ b `c", "d` \"e", "'''", "\"\"\"", "<!-- x", "--> <p>", "\\\" \\", "", "# // --", "`"];
  for (const language of ["", "py", "js", "c", "html", "css", "sql", "sh", "diff", "go", "rust", "nonsense", "constructor", "__proto__"]) {
    const colours = new Colours(language);
    for (const line of lines) assert.equal(colours.line(line).map(([, text]) => text).join(""), line, language);
    const block = codeBlock(language);
    for (const line of lines) block.line(line);
    const [code] = [...elements(block.node)].filter((element) => element.tag === "code");
    assert.equal(code.textContent, lines.join("\n"));
  }
});

test("lines are coloured in linear time", () => {
  for (const unit of ['\\"', '"', "'", "/*", "`", '"""', "a(", "<!--", "1.", "a.b ", "#"]) {
    for (const language of ["py", "js", "html", "sql", "c"]) {
      const colours = new Colours(language);
      const before = process.cpuUsage();
      for (let i = 0; i < 50; i++) colours.line(unit.repeat(2000 / unit.length));
      const { user } = process.cpuUsage(before);
      assert.ok(user < 1e6, `${unit} in ${language}: ${user / 1e6} s`);
    }
  }
});

test("a line that comes in pieces", () => {
  const holder = root();
  const block = codeBlock("js");
  holder.append(block.node);
  block.line("let a");
  const undo = [];
  block.tail("let b", undo);
  assert.ok(holder.textContent.endsWith("let a\nlet b"));
  for (const step of undo) step();
  block.line("let b = 1;");
  block.more(" // and more");
  assert.ok(holder.textContent.endsWith("let a\nlet b = 1; // and more"));
  assert.ok(inner(holder).includes('<span class="t-k">let</span>'));
});

test("settings become fields, or a sentence", () => {
  assert.deepEqual(parameters({ temperature: "0.5", top_k: "0", seed: "", more: '{"tools": []}' }), { temperature: 0.5, top_k: 0, tools: [] });
  assert.deepEqual(parameters({}), {});
  for (const wrong of [{ temperature: "-1" }, { temperature: "x" }, { temperature: "NaN" }, { top_p: "2" }, { top_k: "1.5" }, { max_tokens: "0" }, { more: "[1]" }, { more: "{" }, { more: "null" }])
    assert.throws(() => parameters(wrong), /must be|are not JSON/);
});

test("what is read back is made into what is expected", () => {
  assert.deepEqual(options({ temperature: 1, system: "x", evil: "y" }).system, "x");
  assert.equal(options({ temperature: 1 }).temperature, "");
  assert.equal(options(null).more, "");
  const messages = [{ role: "assistant", content: { a: 1 }, calls: [null, { name: 5, arguments: "{}" }], stats: { predicted: "9", rate: 2 } }];
  const [made] = imported(JSON.stringify({ conversations: [{ id: "../x", title: 7, messages }] }));
  assert.match(made.id, /^[a-z0-9]+$/);
  assert.equal(made.title, "");
  assert.equal(made.messages[0].content, "");
  assert.equal(made.messages[0].calls[0].name, "");
  assert.deepEqual(made.messages[0].stats, { predicted: 0, rate: 2 });
  for (const wrong of ["", "[]", "{}", '{"conversations": []}', '{"conversations": [{"messages": [{"role": "system"}]}]}']) assert.throws(() => imported(wrong));
});
