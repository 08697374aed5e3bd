// One message on the page: text, thoughts, tool calls, errors, what was counted, and what can be done with it.
// Not for: what happens then (app.js).
import { codeBlock, toClipboard } from "./code.js";
import { button, h } from "./dom.js";
import { Writer } from "./markdown.js";

const ENDS = {
  length: "Cut at the most tokens that were asked for.",
  stopped: "Stopped.",
  interrupted: "The page was left before the answer was complete.",
  content_filter: "Ended by a filter.",
};
const digits = (value, places = 0) => value.toLocaleString("en", { maximumFractionDigits: places, minimumFractionDigits: places });

/** hooks: edit(message, text), again(message), more(message), results(message, texts). */
export class View {
  #hooks;
  #writer;
  #thoughts = null;
  #touched = false;
  #calls = [];

  constructor(message, hooks) {
    this.message = message;
    this.#hooks = hooks;
    const { role } = message;
    const name = { user: "You", tool: `Result of ${message.name || "a tool"}` }[role] ?? (message.model || "Answer");
    this.body = h("div", { class: "body" });
    this.calls = h("div", { class: "calls" });
    this.state = h("p", { class: "state" });
    this.foot = h("footer");
    this.node = h("article", { class: `message ${role}`, "aria-label": name });
    this.node.append(h("div", { class: "who" }, name), this.body, this.calls, this.state, this.foot);
    if (role === "assistant") {
      this.#writer = new Writer(this.body, codeBlock);
      this.node.setAttribute("aria-busy", "true");
      this.take(message.content, message.reasoning);
      this.drawCalls();
    } else {
      this.body.textContent = message.content;
      this.foot.append(...(role === "user" ? [this.#editButton()] : []), this.#copyButton());
    }
  }

  /** More of the answer. */
  take(text, reasoning) {
    if (reasoning) this.#think(reasoning);
    if (!text) return;
    if (this.#thoughts && !this.#touched) this.#thoughts.node.open = false;
    this.#writer.write(text);
  }

  #think(reasoning) {
    if (!this.#thoughts) {
      const words = h("span", {}, "Thinking");
      const text = h("div", { class: "thoughts" });
      const node = h("details", { class: "fold", open: true }, h("summary", { onclick: () => (this.#touched = true) }, words), text);
      this.#thoughts = { node, words, text };
      this.body.before(node);
    }
    this.#thoughts.text.append(reasoning);
  }

  drawCalls() {
    this.message.calls.forEach((call, i) => {
      if (!this.#calls[i]) {
        const shown = h("pre", { tabindex: "0" });
        const name = h("b");
        this.#calls[i] = { shown, name };
        this.calls.append(h("details", { class: "fold", open: true }, h("summary", {}, "Tool call ", name), shown));
      }
      this.#calls[i].name.textContent = call.name;
      this.#calls[i].shown.textContent = call.arguments;
    });
  }

  /** A line under the answer while it goes on. */
  tell(text) {
    this.state.textContent = text;
  }

  /** The answer is complete, or as much of it as there will be. `last`: it is the conversation's last message. */
  finish(last) {
    const { message } = this;
    this.#writer.end();
    this.node.removeAttribute("aria-busy");
    if (this.#thoughts) {
      this.#thoughts.words.textContent = "Thoughts";
      if (!this.#touched) this.#thoughts.node.open = false;
    }
    message.calls.forEach((call, i) => {
      this.#calls[i].shown.textContent = indented(call.arguments);
    });
    this.tell(message.error ? "" : (ENDS[message.finish] ?? ""));
    this.node.querySelector(".fault")?.remove();
    if (message.error) {
      const retry = button("again", "Try again", () => this.#hooks.again(message), "Try again");
      this.state.after(h("div", { class: "fault", role: "alert" }, h("span", {}, message.error), retry));
    }
    this.foot.replaceChildren(this.#copyButton(), this.#editButton(), button("again", "Answer again", () => this.#hooks.again(message)));
    if (last && !message.calls.length && !message.reasoning && message.content && message.finish !== "stop")
      this.foot.append(button("more", "Go on", () => this.#hooks.more(message)));
    this.foot.append(...counted(message.stats));
    if (last && message.calls.length && message.finish === "tool_calls") this.#askResults();
  }

  #askResults() {
    const { calls } = this.message;
    const fields = calls.map((call) => h("textarea", { rows: "2", "aria-label": `Result of ${call.name}`, placeholder: `What ${call.name} gave` }));
    const form = h("form", { class: "results", onsubmit: (event) => {
      event.preventDefault();
      this.#hooks.results(this.message, fields.map((field) => field.value));
    } }, ...fields, h("button", { class: "main" }, calls.length > 1 ? "Send results" : "Send result"));
    this.calls.append(form);
  }

  #copyButton() {
    return button("copy", "Copy", () => toClipboard(this.message.content));
  }

  #editButton() {
    return button("edit", "Edit", () => this.edit());
  }

  /** Let the message be changed where it stands. */
  edit() {
    if (this.node.querySelector(".edit")) return;
    const own = this.message.role === "user";
    const field = h("textarea", { "aria-label": "Change the message", rows: "1" });
    field.value = this.message.content;
    const fit = () => {
      field.style.height = "0";
      field.style.height = `${field.scrollHeight + 2}px`;
    };
    const close = () => {
      form.replaceWith(this.body);
      this.foot.hidden = false;
    };
    const form = h("form", { class: "edit" }, field, h("div", {},
      h("button", { type: "button", onclick: close }, "Cancel"), h("button", { class: "main" }, own ? "Send" : "Save")));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      close();
      if (field.value.trim()) this.#hooks.edit(this.message, field.value);
    });
    form.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing && own) {
        event.preventDefault();
        form.requestSubmit();
      } else if (event.key === "Escape") {
        event.stopPropagation();
        close();
      }
    });
    field.addEventListener("input", fit);
    this.body.replaceWith(form);
    this.foot.hidden = true;
    fit();
    field.focus();
    field.setSelectionRange(field.value.length, field.value.length);
  }
}

function indented(json) {
  try {
    return JSON.stringify(JSON.parse(json), null, 2);
  } catch {
    return json;
  }
}

/** How many tokens and how fast, as small texts. */
function counted(stats) {
  if (!stats?.predicted) return [];
  const parts = [`${digits(stats.predicted)} tokens`];
  if (stats.rate) parts.push(`${digits(stats.rate, 1)} tokens/s`);
  if (stats.first) parts.push(`first after ${digits(stats.first / 1000, 2)} s`);
  const cached = stats.cached ? `, ${digits(stats.cached)} of them known` : "";
  const more = `prompt of ${digits(stats.prompt)} tokens${cached}${stats.seed === undefined ? "" : `; seed ${stats.seed}`}`;
  return [h("span", { class: "counts", title: more }, parts.join(" · "), h("span", { class: "wide" }, ` · ${more}`))];
}
