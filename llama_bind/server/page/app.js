// The chat page: what happens when. Conversations, answers as they come, the server's state, keys of the keyboard.
// Not for: drawing messages (view.js), the server (api.js), what is kept (store.js).
import { events, Failure, health, LOST, pause, request } from "./api.js";
import { find, h, icon, note, say } from "./dom.js";
import { makeFields, parameters, showDefaults, showFields } from "./settings.js";
import { download, drawList, upload } from "./side.js";
import * as store from "./store.js";
import { View } from "./view.js";

const REDRAW = 50; // milliseconds between drawings of an answer
const KEEP = 3000; // and between savings
const TRIES = 6; // when the server is busy

const chats = new Map(store.loadAll().map((chat) => [chat.id, chat]));
const runs = new Map(); // conversation's id -> its answer that comes
let current = null;
let views = [];
let models = [];
let leaving = false;
let stuck = true; // the end of the conversation is in sight and stays so

const scroller = find("#scroll");
const input = find("#input");
const select = find("#model");

// -- conversations -------------------------------------------------------------------------------------------------

function open(id) {
  current = chats.get(id) ?? store.fresh("", store.options(store.setting("options")));
  chats.set(current.id, current);
  for (const [key, chat] of chats) if (chat !== current && !chat.messages.length) chats.delete(key);
  store.session("open", current.id);
  document.body.classList.remove("menu");
  chooseModel();
  draw();
  if (!matchMedia("(pointer: coarse)").matches) input.focus(); // a phone would open its keyboard
}

/** Show the conversation; what is shown already stays, unless it is `stale`. */
function draw(stale = null) {
  const { messages } = current;
  let same = 0;
  while (same < views.length && views[same].message === messages[same] && messages[same] !== stale) same++;
  for (const view of views.splice(same)) view.node.remove();
  const run = runs.get(current.id);
  for (const message of messages.slice(same)) {
    const view = new View(message, hooks);
    views.push(view);
    find("#log").append(view.node);
    if (run?.message === message) run.view = view;
    else if (message.role === "assistant") view.finish(views.length === messages.length);
  }
  drawState();
  stuck = true;
  follow();
}

function drawState() {
  const running = runs.has(current.id);
  document.body.classList.toggle("running", running);
  document.body.classList.toggle("empty", !current.messages.length);
  find("#send").disabled = !running && !input.value.trim();
  find("#send").setAttribute("aria-label", running ? "Stop" : "Send");
  find("#send").title = running ? "Stop (Esc)" : "Send (Enter)";
  document.title = current.title ? `${current.title} · llama_bind` : "llama_bind";
  const used = current.messages.findLast?.((message) => message.stats?.total)?.stats.total;
  const most = models.find((model) => model.id === select.value)?.meta?.n_ctx;
  find("#meter").textContent = used ? `${used.toLocaleString("en")}${most ? ` of ${most.toLocaleString("en")}` : ""} tokens` : "";
  drawList(chats, { ...listHooks, current });
}

function keep(chat) {
  if (!chats.has(chat.id) || !chat.messages.length) return;
  if (!store.save(chat)) note("The browser's storage is full: this conversation is not kept. Export it, or delete others.", null, 10);
}

function touch(chat) {
  chat.updated = Date.now();
  chat.title ||= (chat.messages.find((message) => message.role === "user")?.content ?? "").trim().split("\n", 1)[0].slice(0, 60);
  keep(chat);
}

const listHooks = {
  open,
  renamed(chat) {
    keep(chat);
    drawState();
  },
  remove(chat) {
    runs.get(chat.id)?.controller.abort();
    chats.delete(chat.id);
    store.forget(chat.id);
    if (chat === current) open(null);
    else drawState();
  },
  restore(chat) {
    chats.set(chat.id, chat);
    keep(chat);
    open(chat.id);
  },
};

const hooks = {
  edit(message, text) {
    message.content = text;
    if (message.role === "user") {
      stop();
      current.messages.length = current.messages.indexOf(message) + 1;
    }
    draw(message);
    if (message.role === "user") answer(current);
    else touch(current);
  },
  again(message) {
    stop();
    current.messages.length = current.messages.indexOf(message);
    answer(current);
  },
  more(message) {
    answer(current, message);
  },
  results(message, texts) {
    message.calls.forEach(({ id, name }, i) => current.messages.push({ role: "tool", id, name, content: texts[i] }));
    answer(current);
  },
};

function send(text) {
  if (!text.trim() || runs.has(current.id)) return;
  current.messages.push({ role: "user", content: text });
  input.value = "";
  store.session("draft", "");
  fit();
  answer(current);
}

// -- answers -------------------------------------------------------------------------------------------------------

/** Messages as the server takes them. */
function wire(chat, last) {
  const found = chat.options.system ? [{ role: "system", content: chat.options.system }] : [];
  for (const message of chat.messages) {
    const { role, content, calls, reasoning, id } = message;
    if (message === last) break;
    if (role === "tool") found.push({ role, tool_call_id: id, content });
    else if (!calls?.length) found.push({ role, content });
    else {
      const tool_calls = calls.map((call) => ({ id: call.id, type: "function", function: { name: call.name, arguments: call.arguments } }));
      found.push({ role, content, tool_calls, ...(reasoning && { reasoning_content: reasoning }) });
    }
  }
  return found;
}

/** Have the model answer a conversation, or go on with the answer `message`. */
async function answer(chat, message = null) {
  const goingOn = message !== null;
  if (!goingOn) {
    message = { role: "assistant", content: "", reasoning: "", calls: [], model: select.value, stats: {} };
    chat.messages.push(message);
  }
  Object.assign(message, { error: "", finish: "interrupted" });
  chat.model = select.value;
  const run = { chat, message, controller: new AbortController(), view: null, text: "", reasoning: "", pieces: 0 };
  Object.assign(run, { timer: 0, saved: 0, began: 0, first: 0 }); // milliseconds
  runs.set(chat.id, run);
  touch(chat);
  if (chat === current) draw(goingOn ? message : null);
  say("The answer begins.");
  try {
    const how = { stream: true, stream_options: { include_usage: true } };
    const messages = wire(chat, goingOn ? null : message);
    await ask(run, { ...(chat.model && { model: chat.model }), ...parameters(chat.options), messages, ...how });
  } catch (error) {
    if (error.name === "AbortError") message.finish = "stopped";
    else if (!leaving) {
      message.finish = "error";
      message.error = error.message;
      if (!(error instanceof Failure)) console.error(error); // a mistake of this page
      if (error.message === LOST) connect();
    }
  }
  flush(run);
  if (runs.get(chat.id) === run) runs.delete(chat.id);
  if (chat.messages.includes(message)) touch(chat);
  if (chat === current && views.includes(run.view)) {
    run.view.finish(message === current.messages.at(-1));
    follow();
    say(message.error || `The answer is complete: ${message.stats.predicted ?? run.pieces} tokens.`);
  }
  drawState();
}

/** Send the request until an answer begins, and take it. */
async function ask(run, body) {
  const { signal } = run.controller;
  for (let tries = 1; ; tries++) {
    run.began = performance.now();
    try {
      const reply = await request("v1/chat/completions", { body, signal });
      for await (const event of events(reply)) take(run, event);
      return;
    } catch (error) {
      if (error.status === 401 && (await askKey(error.message))) continue;
      const passing = (error.status === 429 || error.status === 503) && error.after !== null;
      if (error.code === "model_loading") tries = 0;
      if (!passing || tries >= TRIES || run.pieces) throw error;
      await countdown(run, error, signal);
    }
  }
}

async function countdown(run, error, signal) {
  for (let left = Math.max(1, Math.ceil(error.after)); left > 0; left--) {
    run.view?.tell(`${error.message} Trying again in ${left} s.`);
    await pause(1, signal);
  }
  run.view?.tell("");
}

function take(run, event) {
  const { message } = run;
  const choice = event.choices?.[0];
  const delta = choice?.delta ?? {};
  if (delta.content || delta.reasoning_content || delta.tool_calls) {
    run.first ||= performance.now();
    run.pieces++;
  }
  if (delta.content) run.text += delta.content;
  if (delta.reasoning_content) run.reasoning += delta.reasoning_content;
  for (const { index, id, function: called } of delta.tool_calls ?? []) {
    const call = (message.calls[index] ??= { id: "", name: "", arguments: "" });
    call.id ||= id ?? "";
    call.name += called?.name ?? "";
    call.arguments += called?.arguments ?? "";
    run.called = true;
  }
  if (choice?.finish_reason) message.finish = choice.finish_reason;
  if (event.usage) {
    const { timings, usage } = event;
    message.stats = {
      prompt: usage.prompt_tokens,
      cached: usage.prompt_tokens_details?.cached_tokens ?? 0,
      predicted: usage.completion_tokens,
      total: usage.total_tokens,
      rate: timings?.predicted_per_second ?? 0,
      first: run.first - run.began,
      ...(event.seed !== undefined && { seed: event.seed }),
    };
  }
  run.timer ||= setTimeout(flush, REDRAW, run);
}

/** Draw what has come. */
function flush(run) {
  clearTimeout(run.timer);
  run.timer = 0;
  const { message, view, text, reasoning } = run;
  run.text = run.reasoning = "";
  message.content += text;
  message.reasoning += reasoning;
  if (views.includes(view)) {
    view.take(text, reasoning);
    if (run.called) view.drawCalls();
    const seconds = (performance.now() - run.first) / 1000;
    if (run.first && seconds > 0.3) view.tell(`${run.pieces} tokens · ${(run.pieces / seconds).toFixed(1)} tokens/s`);
    follow();
  }
  run.called = false;
  if (performance.now() - run.saved > KEEP) {
    run.saved = performance.now();
    keep(run.chat);
  }
}

const stop = () => runs.get(current.id)?.controller.abort();

// -- the server ----------------------------------------------------------------------------------------------------

let connecting = false;

/** Wait for the server and learn what it serves. */
async function connect() {
  if (connecting) return;
  connecting = true;
  const bar = find("#server");
  for (let wait = 0.3; ; wait = Math.min(wait * 1.5, 3)) {
    const { state, progress } = await health();
    bar.hidden = state === "ok";
    find("#progress").hidden = state !== "loading";
    find("#progress").value = progress ?? 0;
    const words = { loading: "The model is being loaded", error: "The model could not be loaded; the server's log says why.", lost: LOST };
    find("#words").textContent = words[state] ?? "";
    if (state === "ok") break;
    await pause(wait);
  }
  connecting = false;
  await learn().catch((error) => {
    if (error.status === 401) askKey(error.message);
    else note(error.message);
  });
}

async function learn() {
  models = (await (await request("v1/models")).json()).data ?? [];
  select.replaceChildren(...models.map((model) => h("option", { value: model.id }, model.id)));
  chooseModel();
  drawState();
}

/** What the model does by default, which the settings only show: without it they say "default". */
async function learnDefaults() {
  const told = await request(`props?model=${encodeURIComponent(select.value)}`).then((answer) => answer.json()).catch(() => ({}));
  return told.default_generation_settings?.params ?? {};
}

function chooseModel() {
  const wanted = [current.model, store.setting("model"), models[0]?.id];
  const found = wanted.find((name) => models.some((model) => model.id === name));
  if (found !== undefined) select.value = found;
  find("#greeting").textContent = found ? `Ask ${found}` : "Ask anything";
}

let asking = null;

/** Ask the person for the API key until it is right. False: they do not want to. */
function askKey(problem) {
  asking ??= new Promise((resolve) => {
    const dialog = find("#key");
    const form = find("#keyform");
    find("#keyproblem").textContent = store.session("key") ? problem : "";
    const end = (good) => {
      asking = null;
      form.onsubmit = dialog.onclose = null;
      dialog.close();
      resolve(good);
    };
    form.onsubmit = async (event) => {
      event.preventDefault();
      store.session("key", form.elements.key.value.trim());
      try {
        await learn();
        form.reset();
        end(true);
      } catch (error) {
        find("#keyproblem").textContent = error.message;
      }
    };
    dialog.onclose = () => end(false);
    dialog.showModal();
  });
  return asking;
}

// -- the page ------------------------------------------------------------------------------------------------------

function follow() {
  if (stuck) scroller.scrollTop = scroller.scrollHeight;
}

function fit() {
  input.style.height = "0";
  input.style.height = `${Math.min(input.scrollHeight, innerHeight * 0.4)}px`;
}

function drawTheme(chosen) {
  const theme = chosen === "dark" || chosen === "light" ? chosen : "system";
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  const label = `Colours: ${theme}`;
  find("#theme").replaceChildren(icon(theme));
  find("#theme").title = label;
  find("#theme").setAttribute("aria-label", label);
}

function listen() {
  find("#composer").addEventListener("submit", (event) => {
    event.preventDefault();
    if (runs.has(current.id)) stop();
    else send(input.value);
  });
  input.addEventListener("input", () => {
    fit();
    store.session("draft", input.value);
    find("#send").disabled = !runs.has(current.id) && !input.value.trim();
  });
  input.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      send(input.value);
    } else if (event.key === "ArrowUp" && !input.value) {
      event.preventDefault();
      views.filter((view) => view.message.role === "user").at(-1)?.edit();
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !document.querySelector("dialog[open]")) {
      if (document.body.classList.contains("menu")) document.body.classList.remove("menu");
      else stop();
    } else if (event.key.toLowerCase() === "k" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      open(null);
    }
  });
  scroller.addEventListener("scroll", () => {
    stuck = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 60;
    find("#down").hidden = stuck;
  });
  find("#down").addEventListener("click", () => {
    stuck = true;
    follow();
  });
  find("#new").addEventListener("click", () => open(null));
  for (const name of ["#menu", "#shade"]) find(name).addEventListener("click", () => document.body.classList.toggle("menu"));
  find("#gear").addEventListener("click", async () => {
    showFields(current.options);
    find("#settings").showModal();
    showDefaults(await learnDefaults());
  });
  find("#settings").addEventListener("click", (event) => event.target.id === "settings" && event.target.close());
  find("#theme").addEventListener("click", () => {
    const order = { dark: "light", light: "system" };
    drawTheme(store.setting("theme", order[store.setting("theme")] ?? "dark"));
  });
  select.addEventListener("change", () => {
    current.model = store.setting("model", select.value);
    chooseModel();
    drawState();
  });
  find("#export").addEventListener("click", () => download([...chats.values()].filter((chat) => chat.messages.length), "conversations"));
  find("#import").addEventListener("click", () => find("#file").click());
  find("#file").addEventListener("change", async ({ target }) => {
    const found = target.files.length ? await upload(target.files[0]) : [];
    target.value = "";
    for (const chat of found) {
      chats.set(chat.id, chat);
      keep(chat);
    }
    drawState();
  });
  for (const idea of document.querySelectorAll("#ideas button")) idea.addEventListener("click", () => send(idea.textContent));
  addEventListener("pageshow", () => (leaving = false));
  addEventListener("pagehide", () => {
    leaving = true; // what breaks off now is no error
    for (const run of runs.values()) {
      flush(run);
      keep(run.chat);
    }
  });
  addEventListener("storage", (event) => {
    const id = store.changed(event);
    if (!id || runs.has(id)) return;
    const other = store.load(id);
    if (other) chats.set(id, other);
    else chats.delete(id);
    if (current.id === id) open(id);
    else drawState();
  });
}

function start() {
  makeFields((options) => {
    current.options = store.setting("options", store.options(options));
    keep(current);
  });
  listen();
  drawTheme(store.setting("theme"));
  open(store.session("open"));
  input.value = store.session("draft");
  fit();
  drawState();
  if (!store.keeps) note("This browser keeps nothing for this page: conversations are lost when it is closed.", null, 15);
  connect();
}

start();
