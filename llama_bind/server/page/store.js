// What the browser keeps: conversations and settings in localStorage, the key in sessionStorage, so that it is gone with the
// tab. What is read may be old or changed by hand: everything is made into what this page expects.
// Not for: drawing any of it.
const PREFIX = "llama_bind.";
const CHAT = `${PREFIX}chat.`;

export const NUMBERS = {
  temperature: { label: "Temperature", low: 0, high: 100, step: 0.05, hint: "0 is the likeliest word, more is more random" },
  top_p: { label: "Top p", low: 0, high: 1, step: 0.01, hint: "from the likeliest that make up this share" },
  top_k: { label: "Top k", low: 0, high: 1000000, step: 1, hint: "from so many of the likeliest; 0 is all" },
  min_p: { label: "Min p", low: 0, high: 1, step: 0.01, hint: "at least this share of the likeliest" },
  max_tokens: { label: "Max tokens", low: 1, high: 10000000, step: 1, hint: "the longest answer" },
  seed: { label: "Seed", low: 0, high: 4294967295, step: 1, hint: "the same seed gives the same answer" },
};

const text = (value) => (typeof value === "string" ? value : "");
const list = (value) => (Array.isArray(value) ? value : []);
const number = (value, other = 0) => (typeof value === "number" && Number.isFinite(value) ? value : other);
const object = (value) => (value && typeof value === "object" && !Array.isArray(value) ? value : {});

/** Whether this browser lets the page keep anything. */
export const keeps = (() => {
  try {
    localStorage.setItem(`${PREFIX}test`, "1");
    localStorage.removeItem(`${PREFIX}test`);
    return true;
  } catch {
    return false;
  }
})();

function read(name) {
  try {
    return JSON.parse(localStorage.getItem(name));
  } catch {
    return null;
  }
}

/** A setting of the page; without `value` it is read. */
export function setting(name, value) {
  if (value === undefined) return read(PREFIX + name);
  if (keeps) localStorage.setItem(PREFIX + name, JSON.stringify(value));
  return value;
}

/** The same for this tab only. */
export function session(name, value) {
  try {
    if (value === undefined) return sessionStorage.getItem(PREFIX + name) ?? "";
    sessionStorage.setItem(PREFIX + name, value);
  } catch {
    session.kept ??= {}; // a browser that keeps nothing: until the page is left
    if (value !== undefined) session.kept[name] = value;
    return session.kept[name] ?? "";
  }
  return value;
}

function message(value) {
  const { role, content, reasoning, calls, error, finish, model, id, name, stats } = object(value);
  if (role === "user") return { role, content: text(content) };
  if (role === "tool") return { role, content: text(content), id: text(id), name: text(name) };
  if (role !== "assistant") return null;
  const made = { role, content: text(content), reasoning: text(reasoning), error: text(error), model: text(model) };
  made.finish = text(finish) || "interrupted";
  made.calls = list(calls).map((call) => ({ id: text(call?.id), name: text(call?.name), arguments: text(call?.arguments) }));
  made.stats = Object.fromEntries(Object.entries(object(stats)).map(([key, given]) => [key, number(given)]));
  return made;
}

/** Settings of a conversation: what was typed, as texts. */
export function options(value) {
  const given = object(value);
  const names = ["system", "more", ...Object.keys(NUMBERS)];
  return Object.fromEntries(names.map((name) => [name, text(given[name])]));
}

function chat(value, id) {
  const given = object(value);
  const messages = list(given.messages).map(message);
  if (!text(id) || messages.includes(null)) return null;
  return {
    id,
    title: text(given.title).slice(0, 200),
    model: text(given.model),
    created: number(given.created, Date.now()),
    updated: number(given.updated, Date.now()),
    options: options(given.options),
    messages,
  };
}

export function fresh(model, given) {
  const id = Array.from(crypto.getRandomValues(new Uint8Array(9)), (byte) => byte.toString(36).padStart(2, "0")).join("");
  return chat({ model, options: given }, id);
}

/** One conversation as it is kept, or null. */
export const load = (id) => (keeps ? chat(read(CHAT + id), id) : null);

/** All conversations that are kept; those that cannot be read are left alone. */
export function loadAll() {
  if (!keeps) return [];
  const names = Object.keys(localStorage).filter((name) => name.startsWith(CHAT));
  return names.map((name) => load(name.slice(CHAT.length))).filter(Boolean);
}

/** Keep a conversation. False: there is no room. */
export function save(made) {
  if (!keeps) return true; // said once, at the beginning
  try {
    localStorage.setItem(CHAT + made.id, JSON.stringify(made));
    return true;
  } catch {
    return false;
  }
}

export const forget = (id) => keeps && localStorage.removeItem(CHAT + id);

/** The id of the conversation that a storage event is about, or null. */
export const changed = (event) => (event.key?.startsWith(CHAT) ? event.key.slice(CHAT.length) : null);

/** Conversations out of an exported file. Throws where it is none. */
export function imported(json) {
  const found = list(object(JSON.parse(json)).conversations).map((value) => chat(value, fresh("", {}).id));
  if (!found.length || found.includes(null)) throw new Error("no conversations");
  return found;
}
