// Elements, made and changed without markup: what a server says is text, and never anything else.

const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes and children; children that are not elements are text. */
export function element(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same for drawings. */
export function drawing(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** The element of this page called `id`. */
export function part(id) {
  return document.getElementById(id);
}

/** Changes a text where it differs: a selection stays. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Shows a text in a place that is hidden without one. */
export function tell(node, text) {
  setText(node, text);
  node.hidden = !text;
}

/** Replaces children when they would look different. */
export function setChildren(node, ...children) {
  const next = element("div", {}, ...children);
  if (node.innerHTML !== next.innerHTML) node.replaceChildren(...next.childNodes);
}

/** A short word in a colour: good, bad, busy or none. */
export function badge(text, kind = "") {
  return element("span", { class: `badge ${kind}` }, text);
}

const PLAIN = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const LARGE = new Intl.NumberFormat("en", { maximumSignificantDigits: 3, notation: "compact" });

/** Three digits, as a person reads them. */
export function number(value) {
  return (Math.abs(value) < 1000 ? PLAIN : LARGE).format(value);
}

/** A time in nanoseconds with its unit. */
export function time(ns) {
  const units = [["s", 1e9], ["ms", 1e6], ["µs", 1e3]];
  const [unit, size] = units.find(([, size]) => ns >= size) ?? ["ns", 1];
  return `${number(ns / size)} ${unit}`;
}

/** A line over time, from 0 to its largest value; `null` is a gap. */
export class Sparkline {
  constructor() {
    this.area = drawing("path", { class: "area" });
    this.line = drawing("path", { class: "line" });
    const box = { class: "sparkline", viewBox: "0 0 100 30", preserveAspectRatio: "none", "aria-hidden": "true" };
    this.node = drawing("svg", box, this.area, this.line);
  }

  /** Draws the last values of `values`, of which there are at most `most`, the newest at the right. */
  draw(values, most) {
    const top = Math.max(...values.map((v) => v ?? 0)) || 1;
    const at = (i) => (100 * (most - values.length + i)) / (most - 1);
    const parts = [];
    let points = [];
    for (let i = 0; i <= values.length; i += 1) {
      const value = values[i];
      if (value !== null && value !== undefined) {
        points.push([at(i), 29 - (27 * value) / top]);
      } else if (points.length > 0) {
        parts.push(points);
        points = [];
      }
    }
    const line = (points) => points.map(([x, y]) => `${x.toFixed(2)} ${y.toFixed(2)}`).join("L");
    this.line.setAttribute("d", parts.map((p) => `M${line(p)}`).join(""));
    this.area.setAttribute("d", parts.map((p) => `M${p[0][0].toFixed(2)} 30L${line(p)}V30Z`).join(""));
  }
}
