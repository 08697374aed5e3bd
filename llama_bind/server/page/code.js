// Code blocks: a bar with language and copy button, lines that are only ever appended, colours for common languages.
// Not for: parsing. A line is coloured by what its pieces look like: comments, strings, numbers, words.
import { button, h, note } from "./dom.js";

const LINES = 40; // lines in one part: what is finished is not laid out again
const WORDS = new Set(
  `abstract and as assert async await auto begin bool boolean break byte case catch char class const constexpr continue crate
  def default defer del delete do done double elif else end enum esac except export extends extern false False fi final finally
  float fn for foreach from func function global go goto if impl implements import in include inline instanceof int interface
  internal is join lambda let local long loop match mod module mut namespace new nil None nonlocal not null nullptr of operator
  or out override package pass print private protected protocol pub public raise readonly ref require return select self short
  signed sizeof static string struct super switch template then this throw throws trait true True try type typedef typeof
  undefined union unless unsigned until use using val var virtual void volatile when where while with yield
  SELECT FROM WHERE INSERT INTO VALUES UPDATE SET DELETE CREATE TABLE JOIN LEFT INNER ON GROUP BY ORDER LIMIT AND OR NOT NULL AS
  PRIMARY KEY DROP ALTER INDEX DISTINCT HAVING`.split(/\s+/),
);
const HASH = new RegExp(
  "^(py|python3?|rb|ruby|sh|bash|zsh|shell|fish|yaml|yml|toml|ini|r|perl|pl|dockerfile|docker|make|makefile|elixir|julia|nim|" +
    "cmake|powershell|ps1|nix|conf)$",
);
const DASH = /^(sql|lua|haskell|hs|ada|elm|mysql|postgresql|sqlite)$/;
const MARKUP = /^(html|xml|svg|vue|xhtml)$/;
const PLAIN = /^(|te?xt|plain|plaintext|output|console|log|markdown|md|csv|ascii)$/;
const STRING = String.raw`"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|\\.`;
const REST = String.raw`\b\d[\w.]*|[A-Za-z_$][\w$]*`;

/** How a language's lines are cut into pieces: a pattern, and what may go on over several lines. */
function grammarOf(language) {
  if (PLAIN.test(language)) return null;
  if (language === "diff" || language === "patch") return { diff: true };
  if (MARKUP.test(language)) return { pattern: /<!--.*?(?:-->|$)|<\/?[\w:-]+|\/?>|"[^"]*"/g, long: [["<!--", "-->"]] };
  if (language === "css" || language === "scss") return made(String.raw`\/\*`, [["/*", "*/"]]);
  if (HASH.test(language)) return made("#", language.startsWith("py") ? [['"""', '"""'], ["'''", "'''"]] : []);
  if (DASH.test(language)) return made("--", []);
  return made(String.raw`\/\/`, [["/*", "*/"], ...(/^(js|jsx|ts|tsx|javascript|typescript|go)$/.test(language) ? [["`", "`"]] : [])]);
}

function made(comment, long) {
  const openings = long.map(([open]) => open.replace(/[*/.]/g, "\\$&"));
  return { pattern: new RegExp([...openings, `${comment}.*`, STRING, REST].join("|"), "g"), long, comment: new RegExp(`^(?:${comment})`) };
}

/** Cuts lines into [kind, text]; remembers what is open at the end of a line. */
export class Colours {
  #grammar;
  #open = null; // [what ends it, kind]

  constructor(language) {
    this.#grammar = grammarOf(language);
  }

  line(text) {
    const grammar = this.#grammar;
    if (!grammar) return [["", text]];
    if (grammar.diff) return [[{ "+": "s", "-": "d", "@": "k" }[text[0]] ?? "", text]];
    const found = [];
    let at = 0;
    const until = (from) => {
      const [close, kind] = this.#open;
      const end = text.indexOf(close, from);
      const stop = end < 0 ? text.length : end + close.length;
      if (end >= 0) this.#open = null;
      found.push([kind, text.slice(at, stop)]);
      at = stop;
    };
    if (this.#open) until(0);
    const { pattern } = grammar;
    for (pattern.lastIndex = at; ; pattern.lastIndex = at) {
      const hit = at < text.length ? pattern.exec(text) : null;
      if (!hit) break;
      if (hit.index > at) found.push(["", text.slice(at, hit.index)]);
      at = hit.index;
      const long = grammar.long.find(([open]) => hit[0] === open || (open === "<!--" && hit[0].startsWith(open)));
      if (long) {
        this.#open = [long[1], long[0].startsWith("/") || long[0] === "<!--" ? "c" : "s"];
        until(at + long[0].length);
        continue;
      }
      at += hit[0].length;
      found.push([this.#kind(hit[0], text[at]), hit[0]]);
    }
    if (at < text.length) found.push(["", text.slice(at)]);
    return found;
  }

  #kind(piece, next) {
    if (this.#grammar.comment?.test(piece)) return "c";
    if (/^["']/.test(piece)) return "s";
    if (/^\d/.test(piece)) return "n";
    if (/^[</>]/.test(piece)) return "k";
    if (WORDS.has(piece)) return "k";
    return next === "(" ? "f" : "";
  }
}

/** What shows a code block that comes line by line, for Writer. */
export function codeBlock(language) {
  const colours = new Colours(language);
  const texts = [];
  const code = h("code");
  const copy = button("copy", "Copy code", () => toClipboard(texts.join("")));
  const bar = h("div", { class: "bar" }, h("span", {}, language || "text"), copy);
  const node = h("div", { class: "code" }, bar, h("pre", { tabindex: "0" }, code));
  let part = null;
  let lines = LINES;
  let begun = false; // there is a line, after which the next one needs a break

  const room = () => {
    if (lines < LINES && part) return;
    code.append((part = h("span", { class: "part" })));
    lines = 0;
  };
  const put = (text) => {
    for (const [kind, piece] of colours.line(text)) part.append(kind ? h("span", { class: `t-${kind}` }, piece) : piece);
  };
  return {
    node,
    line(text) {
      if (begun) part.append("\n");
      room();
      lines++;
      put(text);
      texts.push(begun ? `\n${text}` : text);
      begun = true;
    },
    more(text) {
      room();
      part.append(text);
      texts.push(text);
      begun = true;
    },
    tail(text, undo) {
      const shown = document.createTextNode(begun ? `\n${text}` : text);
      (part ?? code).append(shown);
      undo.push(() => shown.remove());
    },
    end() {},
  };
}

/** Copy text and say so; by a selection where browsers give pages no clipboard, as they do without TLS. */
export async function toClipboard(text) {
  let done = true;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = h("textarea", { class: "away", readonly: true });
    area.value = text;
    document.body.append(area);
    area.select();
    done = document.execCommand("copy");
    area.remove();
  }
  note(done ? "Copied" : "The browser does not allow copying.");
}
