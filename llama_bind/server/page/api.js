// The server as this page uses it: requests with the key, streams of events, errors as words. Not for: what is shown.
import { session } from "./store.js";

/** What went wrong, for a person. `after`: seconds to wait before another try, where the server named them. */
export class Failure extends Error {
  constructor(message, { status = 0, code = "", after = null } = {}) {
    super(message);
    Object.assign(this, { status, code, after });
  }
}

export const LOST = "The server does not answer. Is it still running?";

/** A request; the answer if it is a good one. Throws Failure, or AbortError when `signal` says so. */
export async function request(path, { body, signal } = {}) {
  const headers = {};
  const key = session("key");
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal, cache: "no-store" });
  } catch (error) {
    throw error.name === "AbortError" ? error : new Failure(LOST);
  }
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => null);
  const after = Number.parseFloat(answer.headers.get("Retry-After"));
  throw new Failure(wordsOf(told?.error) ?? `The server answered with status ${answer.status}.`, {
    status: answer.status,
    code: told?.error?.code ?? "",
    after: Number.isFinite(after) ? Math.max(after, 0) : null,
  });
}

function wordsOf(error) {
  return typeof error?.message === "string" && error.message ? error.message : null;
}

/** The JSON values of a stream of server-sent events. Throws Failure for an error in it, and when it breaks off. */
export async function* events(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) throw new Failure("The connection ended before the answer did.");
      const lines = (buffer + value).split(/\r?\n/);
      buffer = lines.pop();
      for (const line of lines) {
        if (!line.startsWith("data:")) continue;
        const data = line.slice(5).trim();
        if (data === "[DONE]") return;
        const event = JSON.parse(data);
        if (event.error) throw new Failure(wordsOf(event.error) ?? "The answer failed.", { code: event.error.code ?? "" });
        yield event;
      }
    }
  } catch (error) {
    if (error.name === "AbortError" || error instanceof Failure) throw error;
    throw new Failure(error instanceof SyntaxError ? "The server sent what is no event." : "The connection broke.");
  } finally {
    reader.cancel().catch(() => {}); // it may have failed already, which has been said
  }
}

/** How the server is: {state: "ok" | "loading" | "error" | "lost", progress}. */
export async function health() {
  let answer;
  try {
    answer = await fetch("health", { cache: "no-store" });
  } catch {
    return { state: "lost" };
  }
  if (answer.ok) return { state: "ok" };
  const told = await answer.json().catch(() => ({}));
  if (told.status === "error") return { state: "error" };
  return { state: answer.status === 503 ? "loading" : "lost", progress: Number(told.progress) || 0 };
}

/** Wait; throws AbortError when `signal` says so. */
export function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(new DOMException("stopped", "AbortError"));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, seconds * 1000);
    if (signal?.aborted) stop();
    signal?.addEventListener("abort", stop, { once: true });
  });
}
