// The settings of a conversation: system prompt, sampling, further fields. Not for: keeping them (store.js).
import { Failure } from "./api.js";
import { find, h } from "./dom.js";
import { NUMBERS } from "./store.js";

/** Make the fields once. `changed` is called with the options after each change. */
export function makeFields(changed) {
  const form = find("#fields");
  for (const [name, { label, low, high, step, hint }] of Object.entries(NUMBERS)) {
    const limits = { type: "number", min: low, max: high, step: step === 1 ? 1 : "any", inputmode: "decimal" };
    const field = h("input", { id: `o-${name}`, name, ...limits, "aria-describedby": `h-${name}` });
    find("#numbers").append(h("div", {}, h("label", { for: field.id }, label), field, h("small", { id: `h-${name}` }, hint)));
  }
  form.addEventListener("input", () => {
    changed(Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, value.trim()])));
    tellProblem();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    find("#settings").close();
  });
  find("#reset").addEventListener("click", () => {
    for (const field of form.elements) if (field.name) field.value = "";
    form.dispatchEvent(new Event("input"));
  });
}

function tellProblem() {
  let problem = "";
  try {
    const form = find("#fields");
    for (const field of form.elements) if (field.validity?.badInput) problem = `${field.labels[0].textContent}: not a number.`;
    parameters(Object.fromEntries(new FormData(form)));
  } catch (error) {
    problem ||= error.message;
  }
  find("#problem").textContent = problem;
}

/** Show a conversation's options. */
export function showFields(options) {
  for (const field of find("#fields").elements) if (field.name) field.value = options[field.name] ?? "";
  showDefaults({});
  tellProblem();
}

/** Show what the server does where nothing is set. */
export function showDefaults(defaults) {
  for (const name of Object.keys(NUMBERS)) {
    const usual = defaults[name];
    find(`#o-${name}`).placeholder = typeof usual === "number" ? String(+usual.toFixed(4)) : "default";
  }
}

/** Options as fields of a request. Throws Failure with words for a person where they cannot be. */
export function parameters(options) {
  const found = {};
  for (const [name, { label, low, high, step }] of Object.entries(NUMBERS)) {
    const given = (options[name] ?? "").trim();
    if (!given) continue;
    const value = Number(given);
    if (!Number.isFinite(value) || value < low || value > high || (step === 1 && !Number.isInteger(value)))
      throw new Failure(`${label} must be ${step === 1 ? "a whole number" : "a number"} from ${low} to ${high}.`);
    found[name] = value;
  }
  const more = (options.more ?? "").trim();
  if (!more) return found;
  let fields;
  try {
    fields = JSON.parse(more);
  } catch (error) {
    throw new Failure(`Further fields are not JSON: ${error.message}`);
  }
  if (!fields || typeof fields !== "object" || Array.isArray(fields))
    throw new Failure('Further fields must be a JSON object, such as {"top_k": 20}.');
  return { ...found, ...fields };
}
