// The form that sends a test inference.

import * as api from "./api.js";
import { badge, element, number, part, setText, tell } from "./dom.js";
import * as tensors from "./tensors.js";

/** Values up to which an input is shown and may be edited; more are made when they are sent. */
const MOST_SHOWN = 10_000;

/** Values of an output that are shown. */
const MOST_PRINTED = 2_000;

/** One input of the model: its shape, whose free axes can be set, and its values. */
class Input {
  constructor(about, at) {
    this.about = about;
    this.kind = "random";
    const id = `input-${at}`;
    this.axes = about.shape.map((size, axis) => {
      if (size >= 0) return { size: () => size, node: element("span", { class: "axis" }, String(size)) };
      const attributes = { type: "number", min: "0", value: "1", "aria-label": `Axis ${axis} of ${about.name}` };
      const node = element("input", attributes);
      node.addEventListener("input", () => this.refill());
      return { size: () => Math.max(Math.trunc(node.valueAsNumber) || 0, 0), node };
    });
    const times = this.axes.flatMap(({ node }, axis) => (axis ? [" × ", node] : [node]));
    const button = (text, kind) => {
      const node = element("button", { type: "button" }, text);
      node.addEventListener("click", () => {
        this.kind = kind;
        this.refill();
      });
      return node;
    };
    this.hint = element("span", { class: "hint" });
    this.text = element("textarea", { id, rows: "4", spellcheck: "false" });
    this.text.addEventListener("input", () => this.sayCount());
    this.node = element(
      "fieldset",
      {},
      element("div", { class: "row" },
        element("label", { for: id }, about.name),
        element("span", { class: "type" }, about.datatype),
        element("span", { class: "shape" }, "[ ", ...times, " ]"),
        button("Zeros", "zeros"), button("Random", "random"), this.hint),
      this.text,
    );
    this.refill();
  }

  shape() {
    return this.axes.map((axis) => axis.size());
  }

  refill() {
    const size = tensors.count(this.shape());
    const shown = size <= MOST_SHOWN;
    this.text.disabled = !shown;
    this.text.value = shown ? JSON.stringify(tensors.example(this.about.datatype, size, this.kind)) : "";
    const values = this.kind === "zeros" ? "zeros" : "random values";
    this.text.placeholder = shown ? "Left out of the request" : `${size} ${values}, made when they are sent`;
    this.sayCount();
  }

  sayCount() {
    const size = tensors.count(this.shape());
    setText(this.hint, `${size} value${size === 1 ? "" : "s"}`);
  }

  /** The input as text of the request, and the bytes that go behind it; `null`: nothing was entered. */
  wire() {
    const { name, datatype } = this.about;
    const shape = this.shape();
    const entered = this.text.value.trim();
    let values;
    if (this.text.disabled) values = tensors.example(datatype, tensors.count(shape), this.kind);
    else if (entered === "") return null;
    else {
      try {
        values = JSON.parse(entered);
      } catch (error) {
        throw new Error(`input '${name}': ${error.message}`);
      }
    }
    const start = `{"name":${JSON.stringify(name)},"datatype":"${datatype}","shape":${JSON.stringify(shape)}`;
    if (tensors.isBinaryOnly(datatype)) {
      const bytes = tensors.encodeHalf(datatype, [values].flat(Infinity).map(Number));
      return { json: `${start},"parameters":{"binary_data_size":${bytes.length}}}`, bytes: [bytes] };
    }
    // As it was entered: integers of 64 bits are none of this language's numbers.
    return { json: `${start},"data":${this.text.disabled ? JSON.stringify(values) : entered}}`, bytes: [] };
  }
}

/** The form. It knows the models that answer, and asks for the inputs of the one that is chosen. */
export class Form {
  constructor() {
    this.versions = new Map();
    this.inputs = [];
    this.shown = "";
    this.model = part("test-model");
    this.version = part("test-version");
    this.send = part("test-send");
    this.model.addEventListener("change", () => this.changeModel());
    this.version.addEventListener("change", () => this.describe());
    part("test").addEventListener("submit", (event) => {
      event.preventDefault();
      this.run();
    });
  }

  /** Takes the models that answer: versions by name. */
  update(versions) {
    const same = JSON.stringify([...versions]) === JSON.stringify([...this.versions]);
    if (same) return;
    this.versions = versions;
    const chosen = this.model.value;
    this.model.replaceChildren(...[...versions.keys()].map((name) => element("option", { value: name }, name)));
    if (versions.has(chosen)) this.model.value = chosen;
    this.changeModel();
  }

  /** Chooses a version and goes to the form. */
  choose(name, version) {
    this.model.value = name;
    this.changeModel();
    this.version.value = version;
    this.describe();
    part("test-title").scrollIntoView();
    this.model.focus({ preventScroll: true });
  }

  changeModel() {
    const versions = this.versions.get(this.model.value) ?? [];
    const chosen = this.version.value;
    const options = versions.map((version) => element("option", { value: version }, version));
    this.version.replaceChildren(element("option", { value: "" }, "newest"), ...options);
    if (versions.includes(chosen)) this.version.value = chosen;
    this.describe();
  }

  /** Shows the inputs of what is chosen, unless they are there. */
  async describe() {
    const name = this.model.value;
    const version = this.version.value || this.versions.get(name)?.at(-1);
    const chosen = JSON.stringify([name, version]);
    if (chosen === this.shown) return;
    this.shown = chosen;
    this.inputs = [];
    this.clear();
    this.send.disabled = true;
    part("test-inputs").replaceChildren();
    if (version === undefined) return;
    try {
      const about = await api.metadata(name, version);
      if (chosen !== this.shown) return;
      this.inputs = about.inputs.map((input, at) => new Input(input, at));
      part("test-inputs").replaceChildren(...this.inputs.map((input) => input.node));
      this.send.disabled = false;
    } catch (error) {
      if (chosen !== this.shown) return;
      // The next look at the repository tries again.
      this.shown = "";
      this.versions = new Map();
      this.fail(error);
    }
  }

  clear() {
    tell(part("test-error"), "");
    part("test-summary").replaceChildren();
    part("test-outputs").replaceChildren();
  }

  fail(error) {
    tell(part("test-error"), error.status ? `${error.status}: ${error.message}` : error.message);
  }

  async run() {
    const [name, version, chosen] = [this.model.value, this.version.value, this.shown];
    this.clear();
    this.send.disabled = true;
    setText(part("test-summary"), "Waiting for the answer");
    try {
      const wires = this.inputs.map((input) => input.wire()).filter((wire) => wire !== null);
      const inputs = wires.map((wire) => wire.json).join(",");
      // Binary outputs can say what JSON cannot: half floats, infinities, 64-bit integers.
      const json = `{"inputs":[${inputs}],"parameters":{"binary_data_output":true}}`;
      const result = await api.infer(name, version, json, wires.flatMap((wire) => wire.bytes));
      if (chosen === this.shown) this.show(result);
    } catch (error) {
      if (chosen !== this.shown) return;
      this.clear();
      this.fail(error);
    } finally {
      if (chosen === this.shown) this.send.disabled = false;
    }
  }

  show({ answer, tensors: bytes, milliseconds }) {
    const { hypersonic_backend: backend, hypersonic_exact: exact } = answer.parameters ?? {};
    const took = element("span", { id: "test-time" }, `${number(milliseconds)} ms`);
    const words = [took, ` · version ${answer.model_version}`];
    if (backend !== undefined) words.push(" · served by ", element("strong", { id: "test-backend" }, backend), " ");
    if (exact !== undefined) words.push(badge(exact ? "exact bits" : "not exact", exact ? "good" : ""));
    part("test-summary").replaceChildren(...words);
    let at = 0;
    const nodes = answer.outputs.map((output) => {
      const size = output.parameters?.binary_data_size ?? 0;
      const values = tensors.decode(output.datatype, bytes.slice(at, at + size));
      at += size;
      const printed = tensors.print(output.datatype, output.shape, values.slice(0, MOST_PRINTED));
      const left = values.length - MOST_PRINTED;
      return element(
        "figure",
        { "data-output": output.name },
        element("figcaption", {},
          element("strong", {}, output.name), " ",
          element("span", { class: "type" }, output.datatype), ` [ ${output.shape.join(" × ")} ]`),
        element("pre", { tabindex: "0" }, left > 0 ? `${printed}\n… ${left} more` : printed),
      );
    });
    part("test-outputs").replaceChildren(...nodes);
  }
}
