// As much of a document as the page's Markdown needs, to try it without a browser. Not for: anything that is laid out.

// Children stand in places, so that taking one away or replacing it costs the same however many there are.
class Node {
  parent = null;
  place = null;

  remove() {
    this.parent?.places.delete(this.place);
    this.parent = this.place = null;
  }

  replaceWith(other) {
    other.remove();
    this.place.node = other;
    [other.parent, other.place] = [this.parent, this.place];
    this.parent = this.place = null;
  }
}

class Text extends Node {
  constructor(data) {
    super();
    this.data = String(data);
  }

  get textContent() {
    return this.data;
  }

  get html() {
    return this.data.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  }
}

class Element extends Node {
  places = new Set();
  attributes = {};

  constructor(tag) {
    super();
    this.tag = tag;
  }

  append(...nodes) {
    for (const given of nodes) {
      const node = given instanceof Node ? given : new Text(given);
      node.remove();
      node.parent = this;
      node.place = { node };
      this.places.add(node.place);
    }
  }

  get children() {
    return Array.from(this.places, (place) => place.node);
  }

  setAttribute(name, value) {
    this.attributes[name] = String(value);
  }

  set className(value) {
    this.attributes.class = value;
  }

  addEventListener() {}

  get textContent() {
    return this.children.map((child) => child.textContent).join("");
  }

  set textContent(text) {
    for (const child of this.children) child.parent = null;
    this.places.clear();
    this.append(text);
  }

  get html() {
    const attributes = Object.entries(this.attributes).map(([name, value]) => ` ${name}="${value.replace(/"/g, "&quot;")}"`);
    return `<${this.tag}${attributes.join("")}>${this.children.map((child) => child.html).join("")}</${this.tag}>`;
  }
}

globalThis.document = {
  createElement: (tag) => new Element(tag),
  createElementNS: (_space, tag) => new Element(tag),
  createTextNode: (data) => new Text(data),
};

/** All elements below `node`. */
export function* elements(node) {
  for (const child of node.children ?? []) {
    if (child instanceof Element) yield child;
    yield* elements(child);
  }
}

export const root = () => new Element("div");

/** What is in `node`, as HTML without the page's own classes. */
export const inner = (node) => node.children.map((child) => child.html).join("");
