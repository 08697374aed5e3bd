// The inside of a paragraph: emphasis, code, links, line breaks. Not for: blocks (markdown.js).
// In one pass and in linear time: no mark reaches further than SPAN characters, which also lets a long paragraph be drawn
// piece by piece (see Writer), and elements are nested no deeper than DEPTH.
const SPAN = 990;
const DEPTH = 8;
const RUN = 200; // characters of plain text in one node
const TAGS = { "*1": "em", "*2": "strong", _1: "em", _2: "strong", "~2": "del" };
const SIGNS = { amp: "&", lt: "<", gt: ">", quot: '"', "#39": "'", nbsp: "\u00a0" };
const PLAIN = /[^\\`*_~[\]!<&\nhH]+/y;
const TARGET = /\(\s{0,3}(?:<([^<>\n]*)>|([^\s()<>]*(?:\([^\s()<>]*\)[^\s()<>]*)*))(?:\s{1,3}(?:"[^"]*"|'[^']*'))?\s{0,3}\)/y;
const ADDRESS = /https?:\/\/[^\s<>"'`|]{1,900}/iy;
const WORD = /[\p{L}\p{N}]/u;
const SPACE = /\s/;

/** The parts of `text` as {node, at}. What begins at `at` can be drawn without what is before it, but for marks less than
 *  SPAN away. before: the character before the text. open: marks without an end are taken to end with it (`hanging`). */
export function inline(text, before = " ", open = false) {
  const items = [];
  const openers = { "*": [], _: [], "~": [], "[": [] };
  let at = 0;

  const put = (string, from = at) => {
    const last = items.at(-1);
    const full = last?.text?.length >= RUN && !/[\udc00-\udfff]/.test(string[0]);
    if (last?.text !== undefined && !last.mark && !full) last.text += string;
    else items.push({ text: string, at: from, depth: 0 });
  };
  const element = (tag, from) => {
    const node = document.createElement(tag);
    items.push({ node, at: from, depth: 0 });
    return node;
  };
  /** The top opener of a kind, those that are too far back forgotten. */
  const top = (kind) => {
    const stack = openers[kind];
    if (stack.length && at - stack.at(-1).at > SPAN) stack.length = 0;
    return stack.at(-1);
  };
  const drop = (index) => {
    for (const stack of Object.values(openers)) while (stack.length && stack.at(-1).index > index) stack.pop();
  };
  /** Everything behind item `index` as children of a new element there. */
  const wrap = (index, node) => {
    const inner = items.splice(index + 1);
    node.append(...inner.map(drawn));
    return { node, at: items[index].at, depth: 1 + Math.max(0, ...inner.map((item) => item.depth)) };
  };

  const run = (sign) => {
    let end = at + 1;
    while (text[end] === sign && end - at < 90) end++;
    let left = end - at;
    const previous = at ? text[at - 1] : before;
    const next = text[end] ?? " ";
    const spaced = SPACE.test(previous);
    const opens = !SPACE.test(next) && (spaced || WORD.test(next) || !WORD.test(previous));
    const closes = !spaced && (WORD.test(previous) || SPACE.test(next) || !WORD.test(next));
    const inWord = sign === "_" && WORD.test(previous) && WORD.test(next);
    if (closes && !inWord) {
      for (let opener; left && (opener = top(sign)); ) {
        const use = sign === "~" || (left > 1 && opener.left > 1) ? 2 : 1;
        if (use > left || use > opener.left) break;
        const deep = items.slice(opener.index + 1).some((item) => item.depth >= DEPTH);
        if (deep) break;
        drop(opener.index);
        const made = wrap(opener.index, document.createElement(TAGS[sign + use]));
        opener.left -= use;
        left -= use;
        if (opener.left) {
          items[opener.index].text = sign.repeat(opener.left);
          items.push({ ...made, at: made.at + opener.left });
        } else {
          items[opener.index] = made;
          openers[sign].pop();
        }
      }
    }
    if (left && opens && !inWord && (sign !== "~" || left === 2)) {
      openers[sign].push({ index: items.length, at: end - left, left });
      items.push({ text: sign.repeat(left), at: end - left, depth: 0, mark: true });
    } else if (left) put(sign.repeat(left), end - left);
    at = end;
  };

  const code = () => {
    let end = at + 1;
    while (text[end] === "`") end++;
    const fence = end - at;
    let close = end;
    const limit = Math.min(text.length, end + SPAN);
    for (let from = end; ; from = close + 1) {
      close = text.indexOf("`", from);
      if (close < 0 || close >= limit) {
        close = -1;
        break;
      }
      const start = close;
      while (text[close] === "`") close++;
      if (close - start === fence) break;
    }
    if (close < 0 && !(open && fence < 3 && text.length - end < SPAN && end < text.length)) {
      put("`".repeat(fence));
      at = end;
      return false;
    }
    let inner = text.slice(end, close < 0 ? text.length : close - fence).replace(/\n/g, " ");
    if (inner[0] === " " && inner.at(-1) === " " && inner.trim()) inner = inner.slice(1, -1);
    element("code", at).textContent = inner;
    at = close < 0 ? text.length : close;
    return close < 0;
  };

  const link = (url, from) => {
    const node = document.createElement("a");
    for (const [name, value] of Object.entries({ href: url, title: url, target: "_blank", rel: "noopener noreferrer" }))
      node.setAttribute(name, value);
    return { node, at: from, depth: 1 };
  };

  const bracket = () => {
    const opener = top("[");
    openers["["].pop();
    at++;
    TARGET.lastIndex = 0;
    const found = opener && text[at] === "(" ? TARGET.exec(text.slice(at, at + SPAN)) : null;
    const url = found && safe(found[1] ?? found[2]);
    if (!url || at + found[0].length - opener.at > SPAN) return put("]", at - 1);
    for (const item of items.slice(opener.index + 1)) {
      if (item.bare) Object.assign(item, { node: document.createTextNode(item.bare), bare: undefined });
    }
    drop(opener.index);
    const made = link(url, opener.at);
    const inner = items.splice(opener.index + 1).map(drawn);
    made.node.append(...(inner.length ? inner : [document.createTextNode(url)]));
    items[opener.index] = made;
    openers["["].length = 0; // no link in a link
    at += found[0].length;
  };

  const address = () => {
    ADDRESS.lastIndex = at;
    const found = WORD.test(at ? text[at - 1] : before) ? null : ADDRESS.exec(text);
    let end = found?.[0].length ?? 0;
    const round = found?.[0].includes("(");
    while (end && /[.,:;!?*_~)\]}]/.test(found[0][end - 1]) && !(round && found[0][end - 1] === ")")) end--;
    const shown = found?.[0].slice(0, end);
    const url = shown && safe(shown);
    if (!url) return false;
    const made = link(url, at);
    made.node.textContent = shown;
    items.push({ ...made, bare: shown });
    at += shown.length;
    return true;
  };

  let hanging = false;
  while (at < text.length) {
    PLAIN.lastIndex = at;
    const plain = PLAIN.exec(text)?.[0];
    if (plain) {
      for (let i = 0; i < plain.length; i += RUN) put(plain.slice(i, i + RUN), at + i);
      at += plain.length;
      continue;
    }
    const sign = text[at];
    if (sign === "*" || sign === "_" || sign === "~") run(sign);
    else if (sign === "`") hanging = code() || hanging;
    else if (sign === "[" || (sign === "!" && text[at + 1] === "[")) {
      const length = sign === "!" ? 2 : 1;
      openers["["].push({ index: items.length, at });
      items.push({ text: text.slice(at, at + length), at, depth: 0, mark: true });
      at += length;
    } else if (sign === "]") bracket();
    else if (sign === "\n") {
      const last = items.at(-1);
      if (last?.text !== undefined && !last.mark) last.text = last.text.trimEnd();
      element("br", at++);
    } else if (sign === "\\") {
      const next = text[at + 1] ?? "";
      if (next === "\n") at++;
      else if (/[!-/:-@[-`{-~]/.test(next)) {
        put(next);
        at += 2;
      } else {
        put(sign);
        at++;
      }
    } else if (sign === "<" && /^<br ?\/?>/i.test(text.slice(at, at + 6))) {
      element("br", at);
      at = text.indexOf(">", at) + 1;
    } else if (sign === "&" && SIGNS[/^&([a-z]+|#39);/.exec(text.slice(at, at + 6))?.[1]]) {
      const name = /^&([^;]+);/.exec(text.slice(at, at + 6))[1];
      put(SIGNS[name]);
      at += name.length + 2;
    } else if (!((sign === "h" || sign === "H") && address())) {
      put(sign);
      at++;
    }
  }
  if (open) {
    for (const sign of ["*", "_"]) {
      const opener = top(sign);
      if (!opener || opener.left > 2 || opener.index >= items.length - 1) continue;
      if (items.slice(opener.index + 1).every((item) => item.text?.trim() === "")) continue; // nothing in it yet
      if (items.slice(opener.index + 1).some((item) => item.depth >= DEPTH)) continue;
      items[opener.index] = wrap(opener.index, document.createElement(TAGS[sign + opener.left]));
      drop(opener.index);
      hanging = true;
    }
  }
  for (const item of items) drawn(item);
  return { items, hanging };
}

function drawn(item) {
  item.node ??= document.createTextNode(item.text);
  return item.node;
}

/** The address if it may be followed. */
function safe(url) {
  try {
    const made = new URL(url);
    return made.protocol === "http:" || made.protocol === "https:" ? made.href : null;
  } catch {
    return null;
  }
}
