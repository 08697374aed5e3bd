// Markdown to DOM nodes while it comes: finished lines are worked once, only the end is drawn again. Text of a model
// never becomes markup: nodes are made one by one, addresses of links are http and https only, HTML stays text.
// Not for: all of CommonMark. No indented code, no underlined headings, no images (an image is shown as a link); lists may
// be nested by two spaces; a line break is one.
import { inline } from "./inline.js";

const PIECE = 2000; // characters of a line that decide what it is; the rest is only appended
const KEPT = 1100; // characters at the end of a paragraph that may still change
const DEPTH = 12;
const COLUMNS = 64;

const make = (tag, className) => {
  const node = document.createElement(tag);
  if (className) node.className = className;
  return node;
};

/** Draws Markdown into `root`. `code(language)` makes what shows a code block: {node, line, more, tail, end}. */
export class Writer {
  #root;
  #code;
  #boxes = []; // open quotes and list items, outermost first; never changed in place
  #leaf = null; // the paragraph, table or code that goes on
  #tail = ""; // the unfinished line
  #within = false; // the beginning of this line has been worked already
  #undo = null; // takes back what the unfinished line looked like

  constructor(root, code) {
    this.#root = root;
    this.#code = code;
  }

  write(text) {
    this.#back();
    const all = this.#tail + text;
    let at = 0;
    let end = all.indexOf("\n");
    for (;;) {
      const stop = end < 0 ? all.length : end;
      if (end < 0 && stop - at < PIECE) break;
      const cut = Math.min(stop, at + PIECE);
      this.#piece(all.slice(at, cut));
      at = cut;
      this.#within = true;
      if (cut === end) {
        this.#within = false;
        at = end + 1;
        end = all.indexOf("\n", at);
      }
    }
    this.#tail = all.slice(at);
    if (this.#leaf?.dirty) this.#show(this.#leaf, true);
    this.#ahead();
  }

  end() {
    this.#back();
    if (this.#tail) this.#piece(this.#tail);
    this.#tail = "";
    this.#close();
  }

  // -- the unfinished line ------------------------------------------------------------------------------------------

  #ahead() {
    const tail = this.#tail;
    const inCode = this.#leaf?.kind === "code";
    const unclear = inCode ? /^[\s`~]*$/ : /^(?:[\s>#*+\-`~|=_:]*|\s*\d{1,9}[.)]?\s*)$/;
    if (!tail || (!this.#within && unclear.test(tail))) return; // it may yet turn out to be a mark
    const saved = { boxes: this.#boxes, leaf: this.#leaf };
    this.#undo = [];
    if (this.#leaf) this.#leaf = { ...this.#leaf };
    this.#piece(tail);
    if (this.#leaf?.dirty) this.#show(this.#leaf, true);
    this.#undo.unshift(() => {
      this.#boxes = saved.boxes;
      this.#leaf = saved.leaf;
    });
  }

  #back() {
    for (const step of this.#undo?.reverse() ?? []) step();
    this.#undo = null;
  }

  #append(parent, node) {
    parent.append(node);
    this.#undo?.push(() => node.remove());
  }

  // -- blocks ------------------------------------------------------------------------------------------------------

  #piece(text) {
    if (!this.#within) this.#line(text);
    else if (this.#leaf?.kind === "code") this.#undo ? this.#leaf.sink.tail(text, this.#undo) : this.#leaf.sink.more(text);
    else if (this.#leaf?.kind === "table") this.#append(this.#leaf.cell, document.createTextNode(text));
    else this.#text(text, "");
  }

  #line(line) {
    let rest = line;
    let depth = 0;
    for (; depth < this.#boxes.length; depth++) {
      const box = this.#boxes[depth];
      if (box.kind === "quote") {
        const mark = /^ {0,3}> ?/.exec(rest);
        if (!mark) break;
        rest = rest.slice(mark[0].length);
      } else if (rest.trim() === "" || columns(rest) >= box.indent) rest = strip(rest, box.indent);
      else break;
    }
    if (this.#leaf?.kind === "text" && this.#leaf.tag !== "p") this.#close();
    const broken = this.#boxes[depth];
    if (this.#leaf?.kind === "code") {
      if (!broken || broken.kind === "item") return this.#codeLine(rest); // models forget to indent code in lists
      this.#close();
    }
    const opened = this.#open(rest, depth);
    if (opened !== null) [rest, depth] = [opened, this.#boxes.length];
    if (depth < this.#boxes.length && this.#leaf?.kind === "text" && !this.#starts(rest) && rest.trim()) {
      return this.#text(rest, "\n"); // a paragraph in a list or quote goes on without its indent
    }
    this.#cut(depth);
    this.#content(rest);
  }

  #codeLine(rest) {
    const { fence, indent, sink } = this.#leaf;
    const bare = rest.trim();
    if (bare.length >= fence.length && bare === fence[0].repeat(bare.length)) return this.#close();
    const text = strip(rest, indent);
    if (this.#undo) sink.tail(text, this.#undo);
    else sink.line(text);
  }

  /** Open the quotes and list items at the beginning of `rest`; what follows them, or null where there are none. */
  #open(rest, depth) {
    let found = null;
    while (this.#boxes.length < DEPTH || depth < this.#boxes.length) {
      const quote = /^ {0,3}> ?/.exec(rest);
      const item = quote || isRule(rest) ? null : /^([ \t]*)(?:([-*+])|(\d{1,9})([.)]))(?=([ \t]*))(?:[ \t]|$)/.exec(rest);
      if (!quote && !item) break;
      const going = depth === this.#boxes.length && this.#leaf?.kind === "text" && found === null;
      const body = rest.slice((quote ?? item)[0].length);
      if (item && going && (!body.trim() || (item[3] && item[3] !== "1"))) break;
      const before = this.#boxes[depth];
      this.#close();
      this.#cut(depth);
      if (quote) this.#box("quote", make("blockquote"), { inner: null });
      else this.#item(item, before);
      depth++;
      found = rest = quote || item[5].length > 4 ? body : body.trimStart();
    }
    return found;
  }

  #item(mark, before) {
    const [, lead, bullet, number, point] = mark;
    const type = bullet ?? point;
    let list = before?.kind === "item" && before.type === type ? before.list : null;
    if (!list) {
      list = make(bullet ? "ul" : "ol");
      if (number && number !== "1") list.setAttribute("start", String(Number(number)));
      this.#append(this.#inner(), list);
    }
    const node = make("li");
    this.#append(list, node);
    this.#boxes = [...this.#boxes, { kind: "item", type, list, node, indent: columns(lead) + 2 }];
  }

  #box(kind, node, more) {
    this.#append(this.#inner(), node);
    this.#boxes = [...this.#boxes, { kind, node, ...more }];
  }

  #inner() {
    return this.#boxes.at(-1)?.node ?? this.#root;
  }

  #cut(depth) {
    if (depth >= this.#boxes.length) return;
    this.#close();
    this.#boxes = this.#boxes.slice(0, depth);
  }

  #starts(rest) {
    return isRule(rest) || /^ {0,3}(#{1,6}( |$)|```|~~~)/.test(rest);
  }

  #content(rest) {
    const fence = /^ *(`{3,}|~{3,})([^`]*)$/.exec(rest);
    const heading = /^ {0,3}(#{1,6})(?: |$)/.exec(rest);
    if (!rest.trim()) this.#close();
    else if (fence) {
      this.#close();
      const sink = this.#code(fence[2].trim().split(/[\s{:,]/, 1)[0].slice(0, 30).toLowerCase());
      this.#append(this.#inner(), sink.node);
      this.#leaf = { kind: "code", fence: fence[1], indent: columns(rest), sink };
    } else if (heading) {
      this.#close();
      this.#paragraph(`h${heading[1].length}`, unmarked(rest.slice(heading[0].length)));
      if (!this.#undo && rest.length < PIECE) this.#close();
    } else if (isRule(rest)) {
      this.#close();
      this.#append(this.#inner(), make("hr"));
    } else if (this.#leaf?.kind === "table" && rest.includes("|")) this.#row(rest);
    else if (this.#leaf?.kind === "text" && this.#leaf.tag === "p" && this.#table(rest)) return;
    else this.#text(rest, "\n");
  }

  #text(text, joint) {
    if (this.#leaf?.kind !== "text") {
      this.#close();
      this.#paragraph("p", text.trimStart());
      return;
    }
    this.#leaf.raw += joint + (joint ? text.trimStart() : text);
    this.#leaf.dirty = true;
    if (!this.#undo && this.#leaf.raw.length > 4 * KEPT) this.#show(this.#leaf, true);
  }

  #paragraph(tag, raw) {
    const node = make(tag);
    this.#append(this.#inner(), node);
    this.#leaf = { kind: "text", tag, node, raw, before: " ", live: [], dirty: true };
    const task = tag === "p" && this.#boxes.at(-1)?.kind === "item" && /^\[([ xX])\] /.exec(raw);
    if (task) this.#leaf.raw = (task[1] === " " ? "☐ " : "☑ ") + raw.slice(4);
  }

  #close() {
    const leaf = this.#leaf;
    if (leaf?.kind === "text" && leaf.dirty) this.#show(leaf, false);
    if (leaf?.kind === "code" && !this.#undo) leaf.sink.end();
    this.#leaf = null;
  }

  /** Draw a paragraph's end again. `open`: more may follow, so marks without an end are taken to have one. */
  #show(leaf, open) {
    const found = inline(leaf.raw, leaf.before, open);
    const old = leaf.live;
    for (const node of old) node.remove();
    leaf.live = found.items.map((item) => item.node);
    leaf.node.append(...leaf.live);
    leaf.dirty = found.hanging;
    if (this.#undo) {
      const { node, live } = leaf;
      this.#undo.push(() => {
        for (const one of live) one.remove();
        node.append(...old);
      });
    } else if (leaf.raw.length > 3 * KEPT) this.#settle(leaf, found.items);
  }

  /** What cannot change any more is not drawn again. */
  #settle(leaf, items) {
    const most = leaf.raw.length - KEPT - 1;
    for (let i = items.length - 1; i > 0; i--) {
      if (items[i].at > most) continue;
      leaf.before = leaf.raw[items[i].at - 1];
      leaf.raw = leaf.raw.slice(items[i].at);
      leaf.live = leaf.live.slice(i);
      leaf.settled = true;
      return;
    }
  }

  // -- tables ------------------------------------------------------------------------------------------------------

  /** Whether `rest` makes the last line of the open paragraph the head of a table. */
  #table(rest) {
    if (!/^[\s|:-]+$/.test(rest) || !rest.includes("|") || !rest.includes("-")) return false;
    const marks = cells(rest);
    const at = this.#leaf.raw.lastIndexOf("\n") + 1;
    const head = cells(this.#leaf.raw.slice(at));
    if (head.length !== marks.length || head.length > COLUMNS || !this.#leaf.raw.includes("|", at)) return false;
    if (!marks.every((mark) => /^:?-+:?$/.test(mark))) return false;
    const old = this.#leaf;
    if (!at && old.settled) return false;
    const frame = make("div", "scroll");
    frame.setAttribute("tabindex", "0");
    const table = make("table");
    const body = make("tbody");
    const top = make("thead");
    frame.append(table);
    table.append(top, body);
    const align = marks.map((mark) => (mark.endsWith(":") ? (mark.startsWith(":") ? "mid" : "end") : ""));
    if (at) {
      this.#leaf = { ...old, raw: old.raw.slice(0, at - 1), dirty: true };
      this.#close();
      this.#append(this.#inner(), frame);
    } else {
      old.node.replaceWith(frame);
      this.#undo?.push(() => frame.replaceWith(old.node));
    }
    this.#leaf = { kind: "table", body, align, cell: null };
    this.#fill(top, "th", head);
    return true;
  }

  #row(rest) {
    this.#fill(this.#leaf.body, "td", cells(rest));
  }

  #fill(part, tag, texts) {
    const row = make("tr");
    this.#leaf.align.forEach((align, i) => {
      const cell = make(tag, align);
      cell.append(...inline(texts[i] ?? "", " ", false).items.map((item) => item.node));
      row.append(cell);
      this.#leaf.cell = cell;
    });
    this.#append(part, row);
  }
}

/** Spaces at the beginning, a tab counting to the next multiple of four. */
function columns(line) {
  let count = 0;
  for (const sign of line) {
    if (sign === " ") count++;
    else if (sign === "\t") count += 4 - (count % 4);
    else break;
  }
  return count;
}

/** `line` without that many columns of its indent. */
function strip(line, most) {
  let at = 0;
  let count = 0;
  while (count < most && (line[at] === " " || line[at] === "\t")) count += line[at++] === "\t" ? 4 - (count % 4) : 1;
  return line.slice(at);
}

function isRule(rest) {
  if (!/^ {0,3}[-*_][-*_ \t]+$/.test(rest)) return false;
  const bare = rest.replace(/\s/g, "");
  return bare.length > 2 && bare === bare[0].repeat(bare.length);
}

/** A heading's text without the number signs that may close it. */
function unmarked(text) {
  const bare = text.trim();
  let end = bare.length;
  while (bare[end - 1] === "#") end--;
  return end === 0 || bare[end - 1] === " " ? bare.slice(0, end).trimEnd() : bare;
}

/** The cells of a table's row. */
function cells(row) {
  const bare = row.trim();
  const parts = [""];
  for (let i = bare[0] === "|" ? 1 : 0; i < bare.length; i++) {
    if (bare[i] === "\\" && bare[i + 1] === "|") parts[parts.length - 1] += bare[++i];
    else if (bare[i] !== "|") parts[parts.length - 1] += bare[i];
    else if (i < bare.length - 1) parts.push("");
  }
  return parts.map((part) => part.trim());
}
