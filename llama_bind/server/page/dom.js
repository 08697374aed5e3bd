// Small helpers to make nodes. Text is always a text node. Not for: state.

/** An element; properties that begin with "on" are listeners, true is an empty attribute, false and null are none. */
export function h(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

export function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const node = document.createElementNS(space, "svg");
  node.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(space, "use");
  use.setAttribute("href", `#i-${name}`);
  node.append(use);
  return node;
}

/** A button with an icon; `label` is its name and its tooltip. */
export function button(name, label, onclick, ...children) {
  return h("button", { type: "button", class: children.length ? "" : "icon", title: label, "aria-label": label, onclick }, icon(name), ...children);
}

export const find = (selector) => document.querySelector(selector);

/** Say something for a few seconds; `action` is [label, function]. */
export function note(text, action = null, seconds = 5) {
  const box = find("#notes");
  const item = h("div", { class: "note" }, h("span", {}, text));
  const gone = () => item.remove();
  if (action) {
    const act = () => {
      gone();
      action[1]();
    };
    item.append(h("button", { type: "button", onclick: act }, action[0]));
  }
  box.append(item);
  setTimeout(gone, seconds * 1000);
}

/** Words for screen readers, not shown. */
export function say(text) {
  find("#said").textContent = text;
}
