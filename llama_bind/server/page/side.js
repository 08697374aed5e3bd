// The list of conversations: open, rename, export, delete with a way back, import. Not for: their messages.
import { button, find, h, note } from "./dom.js";
import * as store from "./store.js";

/** Draw the list. hooks: open(id), renamed(chat), remove(chat), restore(chat), current. */
export function drawList(chats, hooks) {
  if (find("#chats input")) return; // a title is being written
  const sorted = [...chats.values()].filter((chat) => chat.messages.length).sort((a, b) => b.updated - a.updated);
  find("#chats").replaceChildren(...sorted.map((chat) => row(chat, hooks)));
  find("#none").hidden = sorted.length > 0;
}

function row(chat, hooks) {
  const current = chat === hooks.current;
  const does = { onclick: () => hooks.open(chat.id), ondblclick: () => rename() };
  const state = { class: "title", "aria-current": current ? "page" : null };
  const title = h("button", { type: "button", ...state, ...does }, chat.title || "Untitled");
  const item = h("li", { class: current ? "current" : "" }, title,
    button("edit", "Rename", () => rename()),
    button("save", "Export", () => download([chat], chat.title)),
    button("bin", "Delete", () => {
      hooks.remove(chat);
      note(`Deleted “${chat.title || "Untitled"}”`, ["Undo", () => hooks.restore(chat)], 8);
    }));

  function rename() {
    const field = h("input", { "aria-label": "Title", maxlength: "200" });
    field.value = chat.title;
    let done = false;
    const end = (keep) => {
      if (done) return;
      done = true;
      field.remove();
      if (keep && field.value.trim()) chat.title = field.value.trim();
      hooks.renamed(chat);
    };
    field.addEventListener("keydown", (event) => {
      if (event.isComposing || (event.key !== "Enter" && event.key !== "Escape")) return;
      event.stopPropagation();
      end(event.key === "Enter");
    });
    field.addEventListener("blur", () => end(true));
    title.replaceWith(field);
    field.select();
  }
  return item;
}

/** Save conversations as a file. */
export function download(chats, name) {
  const data = JSON.stringify({ format: "llama_bind conversations", version: 1, conversations: chats }, null, 2);
  const url = URL.createObjectURL(new Blob([data], { type: "application/json" }));
  const plain = (name || "conversation").replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 60);
  h("a", { href: url, download: `${plain}.json` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

/** Conversations out of a file that the person chooses. */
export async function upload(file) {
  try {
    return store.imported(await file.text());
  } catch {
    note("That file holds no conversations of this page.");
    return [];
  }
}
