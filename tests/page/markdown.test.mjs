// Markdown of the chat page: what it makes, that nothing becomes markup, that pieces do not matter, that time is linear.
import assert from "node:assert/strict";
import { test } from "node:test";
import { elements, inner, root } from "./dom.mjs";

const { Writer } = await import(`${process.env.PAGE}/markdown.js`);

function plainCode(language) {
  const node = document.createElement("pre");
  if (language) node.setAttribute("lang", language);
  let begun = false;
  const shown = (text) => document.createTextNode(begun ? `\n${text}` : text);
  return {
    node,
    line(text) {
      node.append(shown(text));
      begun = true;
    },
    more(text) {
      node.append(text);
    },
    tail(text, undo) {
      const made = shown(text);
      node.append(made);
      undo.push(() => made.remove());
    },
    end() {},
  };
}

function written(...pieces) {
  const node = root();
  const writer = new Writer(node, plainCode);
  for (const piece of pieces) writer.write(piece);
  writer.end();
  return node;
}

const html = (...pieces) => inner(written(...pieces)).replace(/ (title|target|rel|tabindex)="[^"]*"/g, "");

const CASES = [
  ["plain", "<p>plain</p>"],
  ["one\ntwo", "<p>one<br></br>two</p>"],
  ["one\n\ntwo", "<p>one</p><p>two</p>"],
  ["# A *b* #\ntext", "<h1>A <em>b</em></h1><p>text</p>"],
  ["####### seven", "<p>####### seven</p>"],
  ["#tag", "<p>#tag</p>"],
  ["**b** *i* ***both*** ~~d~~ `c < d`", "<p><strong>b</strong> <em>i</em> <em><strong>both</strong></em> <del>d</del> <code>c &lt; d</code></p>"],
  ["**a *b* c**", "<p><strong>a <em>b</em> c</strong></p>"],
  ["snake_case_name and _it_", "<p>snake_case_name and <em>it</em></p>"],
  ["2 * 3 * 4", "<p>2 * 3 * 4</p>"],
  ["**open", "<p>**open</p>"],
  ["``a ` b``", "<p><code>a ` b</code></p>"],
  ["\\*no\\* \\\\", "<p>*no* \\</p>"],
  ["&lt;b&gt; &amp; &copy;", "<p>&lt;b&gt; &amp; &amp;copy;</p>"],
  ["- a\n- b\n  - c\n- d", "<ul><li><p>a</p></li><li><p>b</p><ul><li><p>c</p></li></ul></li><li><p>d</p></li></ul>"],
  ["1. a\n   - b\n2. c", "<ol><li><p>a</p><ul><li><p>b</p></li></ul></li><li><p>c</p></li></ol>"],
  ["1. a\n  - b\n2. c", "<ol><li><p>a</p><ul><li><p>b</p></li></ul></li><li><p>c</p></li></ol>"],
  ["3. a\n4. b", '<ol start="3"><li><p>a</p></li><li><p>b</p></li></ol>'],
  ["- a\n\n  more\n\nend", "<ul><li><p>a</p><p>more</p></li></ul><p>end</p>"],
  ["text\n- a", "<p>text</p><ul><li><p>a</p></li></ul>"],
  ["in\n2020. year", "<p>in<br></br>2020. year</p>"],
  ["- [ ] open\n- [x] done", "<ul><li><p>☐ open</p></li><li><p>☑ done</p></li></ul>"],
  ["> a\n> > b\nlazy\n\nend", "<blockquote><p>a</p><blockquote><p>b<br></br>lazy</p></blockquote></blockquote><p>end</p>"],
  ["a\n\n---\n\n* * *\nb", "<p>a</p><hr></hr><hr></hr><p>b</p>"],
  ["```py\nx = 1\n\n  y\n```\nend", '<pre lang="py">x = 1\n\n  y</pre><p>end</p>'],
  ["````\n```\n````", "<pre>```</pre>"],
  ["~~~\n</pre><b>\n", "<pre>&lt;/pre&gt;&lt;b&gt;</pre>"],
  ["- a\n  ```\n  x\n    y\n  ```\n- b", "<ul><li><p>a</p><pre>x\n  y</pre></li><li><p>b</p></li></ul>"],
  ["1. a\n```\nx\n```", "<ol><li><p>a</p></li></ol><pre>x</pre>"],
  ["| a | b |\n|:-:|--:|\n| 1 | `x\\|y` |\n| 2 |\nend", '<div class="scroll"><table><thead><tr><th class="mid">a</th><th class="end">b</th></tr></thead><tbody><tr><td class="mid">1</td><td class="end"><code>x|y</code></td></tr><tr><td class="mid">2</td><td class="end"></td></tr></tbody></table></div><p>end</p>'],
  ["a | b\n--- | ---\n1 | 2", '<div class="scroll"><table><thead><tr><th>a</th><th>b</th></tr></thead><tbody><tr><td>1</td><td>2</td></tr></tbody></table></div>'],
  ["before\n| a |\n|---|", '<p>before</p><div class="scroll"><table><thead><tr><th>a</th></tr></thead><tbody></tbody></table></div>'],
  ["[t](https://a.example/x_(y) \"z\")", '<p><a href="https://a.example/x_(y)">t</a></p>'],
  ["[**t**](http://a.example)", '<p><a href="http://a.example/"><strong>t</strong></a></p>'],
  ["see https://a.example/x_y_z. And (http://b.example/).", '<p>see <a href="https://a.example/x_y_z">https://a.example/x_y_z</a>. And (<a href="http://b.example/">http://b.example/</a>).</p>'],
  ["[https://a.example](https://b.example)", '<p><a href="https://b.example/">https://a.example</a></p>'],
  ["![alt](https://a.example/i.png)", '<p><a href="https://a.example/i.png">alt</a></p>'],
  ["[a][b] [c] [](x", "<p>[a][b] [c] [](x</p>"],
  ["a<br>b", "<p>a<br></br>b</p>"],
  ["\tx\n\n*\ty", "<p>x</p><ul><li><p>y</p></li></ul>"],
  ["", ""],
  ["\n \n", ""],
];

test("what Markdown becomes", () => {
  for (const [source, wanted] of CASES) assert.equal(html(source), wanted, source);
});

test("nothing becomes markup, and links lead to http and https only", () => {
  const bad = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<a href='javascript:alert(1)'>x</a>", "<!-- x --><svg onload=alert(1)>",
    "[x](javascript:alert(1))", "[x](JaVaScRiPt:alert(1))", "[x](java\tscript:alert(1))", "[x](&#106;avascript:alert(1))", "[x](<javascript:alert(1)>)",
    "[x](data:text/html,<script>1</script>)", "[x](vbscript:x)", "[x](file:///etc/passwd)", "[x](//evil.example)", "[x](/local)", "[x](#top)",
    "<javascript:alert(1)>", "![x](javascript:alert(1))", '[x](https://a.example "onmouseover=alert(1)")', "[x](https://a.example\" onclick=alert(1))",
    "```<script>\nx\n```", "```\"><img src=x onerror=alert(1)>\n</code><script>\n```", "| <b>a</b> |\n|---|\n| <iframe src=x> |", "# <h1 onclick=x>",
    "&lt;script&gt;alert(1)&lt;/script&gt;", "https://a.example/\"onmouseover=alert(1)//", "[x](https://user:pass@a.example)", "\u0000<b>", "[\u202ex](https://a.example)",
  ];
  const allowed = new Set("p h1 h2 h3 h4 h5 h6 em strong del code pre a br ul ol li blockquote hr div table thead tbody tr th td".split(" "));
  const named = new Set("href title target rel class start lang tabindex".split(" "));
  for (const prefix of ["", "- ", "> ", "# ", "**", "| a |\n|---|\n| "]) {
    for (const source of bad) {
      const node = written(prefix + source);
      for (const element of elements(node)) {
        assert.ok(allowed.has(element.tag), `${element.tag} of ${source}`);
        for (const [name, value] of Object.entries(element.attributes)) {
          assert.ok(named.has(name), `${name} of ${source}`);
          if (name === "href") assert.match(value, /^https?:\/\//);
        }
        if (element.tag === "a") assert.equal(element.attributes.rel, "noopener noreferrer");
      }
    }
  }
  assert.equal(written("<script>alert(1)</script>").textContent, "<script>alert(1)</script>");
  assert.equal(html("[x](javascript:alert(1))"), "<p>[x](javascript:alert(1))</p>");
});

function random(seed) {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

const SOUP = ["*", "**", "_", "`", "``", "```", "~~", "[", "](", ")", "https://a.example/b", "<", ">", "> ", "- ", "1. ", "# ", "|", "---", "|--|--|", "\n", "\n\n", "\n", "  ", "    ", "\t", " ", "word", "a", "é", "😀", "\\", "&lt;", "!", "text and more text ", "```py\n", "\n```\n", "| a | b |\n", "\n- x\n  - y\n"];

test("what is written in pieces is what is written at once", () => {
  for (let seed = 1; seed <= 500; seed++) {
    const next = random(seed);
    let text = "";
    for (let count = 1 + next(60); count > 0; count--) text += SOUP[next(SOUP.length)];
    if (seed % 10 === 0) text = text.repeat(40); // long paragraphs are drawn piece by piece
    const pieces = [];
    for (let at = 0; at < text.length; ) {
      const size = 1 + next(seed % 3 ? 4 : 300);
      pieces.push(text.slice(at, at + size));
      at += size;
    }
    assert.equal(inner(written(...pieces)), inner(written(text)), JSON.stringify(text));
  }
});

test("a long paragraph is the same in pieces, and all of it is there", () => {
  const words = Array.from({ length: 4000 }, (_, i) => (i % 7 ? `word${i}` : `**bold${i}** and \`code ${i}\``)).join(" ");
  const whole = written(words);
  const pieces = words.match(/[^]{1,37}/g);
  assert.equal(inner(written(...pieces)), inner(whole));
  assert.equal(whole.textContent, words.replace(/\*\*|`/g, ""));
});

test("while it comes, marks without an end are taken to have one", () => {
  const node = root();
  const writer = new Writer(node, plainCode);
  writer.write("some **bold te");
  assert.equal(inner(node), "<p>some <strong>bold te</strong></p>");
  writer.write("xt** and `co");
  assert.equal(inner(node), "<p>some <strong>bold text</strong> and <code>co</code></p>");
  writer.write("\n\n1");
  assert.equal(inner(node), "<p>some <strong>bold text</strong> and `co</p>", "a number may begin a list");
  writer.write(" more\n```js\nlet x");
  assert.equal(inner(node), '<p>some <strong>bold text</strong> and `co</p><p>1 more</p><pre lang="js">let x</pre>');
  writer.write(" = 1\n``");
  assert.ok(inner(node).endsWith('<pre lang="js">let x = 1</pre>'));
  writer.write("`");
  writer.end();
  assert.ok(inner(node).endsWith('<pre lang="js">let x = 1</pre>'));
});

test("nesting is bounded", () => {
  const deepest = (node, depth = 0) => Math.max(depth, ...(node.children ?? []).map((child) => deepest(child, depth + 1)));
  for (const source of ["> ".repeat(900), "- ".repeat(900) + "x", "> - ".repeat(400) + "x", "*a ".repeat(3000) + "a* ".repeat(3000), "**a *b ".repeat(900) + "b* a** ".repeat(900), "[".repeat(5000) + "](https://a.example)".repeat(50)])
    assert.ok(deepest(written(source)) < 60, source.slice(0, 20));
  assert.ok([...elements(written(`|${"a|".repeat(900)}\n|${"-|".repeat(900)}\n${"|x\n".repeat(900)}`))].length < 5000, "a table that grows as a square");
});

const LONG = 32_000;
const fill = (unit) => unit.repeat(Math.ceil(LONG / unit.length));
const HARD = {
  words: fill("some words that say nothing "), lines: fill("a line\n"), paragraphs: fill("a **short** paragraph\n\n"), noSpace: fill("x"), stars: fill("*"),
  openStars: fill("*a "), pairs: fill("*a* "), closers: `${"*a ".repeat(LONG / 6)}${"a* ".repeat(LONG / 6)}`, mixed: fill("*a_ "), underscores: fill("_a"), nested: fill("**a *b "), tildes: fill("~~a "),
  ticks: fill("`"), openTicks: fill("`a ``b "), tickRuns: Array.from({ length: 600 }, (_, i) => `${"`".repeat(i + 1)} `).join(""), brackets: fill("["), closing: fill("]"), targets: fill("[a]("), links: fill("[a](b \""), spaces: fill("[a](   "), parens: fill("[a](b(("),
  urls: fill("https://a.example/x "), dots: `https://a${fill(".")}`, schemes: fill("https://"), angle: fill("<"), breaks: fill("<br"), ampersands: fill("&a"), escapes: fill("\\*"), bangs: fill("!["),
  quotes: fill("> "), quoteLines: fill("> a\n"), items: fill("- a\n"), deepItems: fill("- a\n  - b\n    - c\n"), numbers: fill("1. a\n"), headings: fill("# a #\n"), hashes: fill("#"), hashLine: `# ${fill(" #")}`, rules: fill("- - "), dashes: fill("-"), ruleLines: fill("---\n"),
  fences: fill("```\n"), openFence: `\`\`\`py\n${fill("x = 1 # y\n")}`, fenceLine: `\`\`\`\n${fill("x")}`, table: `|a|b|\n|-|-|\n${fill("|1|2|\n")}`, tables: fill("|a|\n|-|\n\n"), wide: `|${fill("a|")}\n|${fill("-|")}\n`, pipes: fill("|"), delimiters: fill("a|b\n-|-\n"),
  blank: fill("\n"), space: fill(" "), tabs: fill("\t"), emoji: fill("😀"), crlf: fill("a\r\n"),
};

function seconds(work) {
  const before = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1e6;
}

test("time is linear, at once and in pieces, whatever comes", () => {
  for (const [name, text] of Object.entries(HARD)) {
    for (const size of [text.length, 200]) {
      const time = (part) => seconds(() => written(...part.match(new RegExp(`[^]{1,${size}}`, "g"))));
      const whole = time(text);
      if (process.env.TIMES) console.log(name, size, whole.toFixed(2));
      if (whole < 0.3) continue; // too little to be compared
      // The machine may be busy for a moment, with either of the two: the best of three counts.
      const best = (part) => Math.min(...[1, 2, 3].map(() => time(part)));
      const ratio = best(text) / best(text.slice(0, text.length / 4));
      assert.ok(ratio < 9, `${name} in pieces of ${size}: four times as long takes ${ratio.toFixed(1)} times as long`);
    }
  }
});
