// The page: looks at the server about once a second and shows what has changed.

import * as api from "./api.js";
import { Sparkline, badge, element, number, part, setChildren, setText, tell, time } from "./dom.js";
import { Form } from "./form.js";
import { Live, key } from "./live.js";

/** Milliseconds between two looks. */
const PERIOD = 1000;

/** Looks between two that ask for models and backends too. */
const SELDOM = 3;

/** Looks that the lines show. */
const HISTORY = 60;

/** A number, its line, and words below it. */
class Tile {
  constructor(id, title) {
    this.history = [];
    this.line = new Sparkline();
    this.value = element("output", { id, class: "value" }, "–");
    this.words = element("p", { class: "hint" }, "\u00a0");
    const label = element("label", { for: id }, title);
    this.node = element("div", { class: "card tile" }, label, this.value, this.line.node, this.words);
  }

  /** Shows a value as `text`; `null`: there is none now. */
  update(value, text, ...words) {
    this.history = [...this.history, value].slice(-HISTORY);
    this.value.dataset.value = value ?? "";
    setText(this.value, value === null ? "–" : text);
    setChildren(this.words, ...words);
    this.line.draw(this.history, HISTORY);
  }
}

const tiles = {
  inferences: new Tile("inferences", "Inferences/s"),
  requests: new Tile("requests", "Requests/s"),
  latency: new Tile("latency", "Mean latency"),
};
part("tiles").append(...Object.values(tiles).map((tile) => tile.node));

/** Where the time of a request went. */
function split(rates) {
  if (rates.latency === null) return ["no request was answered"];
  const parts = [["queue", rates.queue ?? 0], ["compute", rates.compute ?? 0]];
  const whole = Math.max(rates.latency, parts[0][1] + parts[1][1], 1);
  const bar = element("span", { class: "split", "aria-hidden": "true" });
  const words = [bar];
  for (const [name, ns] of parts) {
    const piece = element("span", { class: name });
    piece.style.width = `${((100 * ns) / whole).toFixed(1)}%`;
    bar.append(piece);
    words.push(element("span", { class: `key ${name}` }, `${name} ${time(ns)}`), " ");
  }
  return words;
}

function showRates(rates) {
  const none = { inferences: 0, requests: 0, failures: 0, latency: null };
  const all = rates.all ?? none;
  const { inferences, requests, latency } = tiles;
  const batch = all.requests > 0 ? number(all.inferences / all.requests) : "no";
  inferences.update(all.inferences, number(all.inferences), `${batch} row${batch === "1" ? "" : "s"} a request`);
  requests.update(all.requests, number(all.requests), `${number(all.failures)} failed a second`);
  latency.update(all.latency, all.latency === null ? "" : time(all.latency), ...split(all));
}

const KINDS = { READY: "good", LOADING: "busy", UNLOADING: "busy", UNAVAILABLE: "bad" };

/** A backend of a model and how it is. */
function runner(one) {
  const words = [
    element("span", { class: `dot ${one.healthy ? "good" : "bad"}`, "aria-hidden": "true" }),
    element("span", { class: "unseen" }, one.healthy ? "healthy: " : "failing: "),
    element("strong", {}, one.name), ` on ${one.device} `,
    badge(one.exact ? "exact bits" : "not exact", one.exact ? "good" : ""),
  ];
  if (one.problem) {
    words.push(element("p", { class: "reason" }, one.healthy ? `well again after: ${one.problem}` : one.problem));
  }
  return element("div", { class: "runner" }, ...words);
}

/** A card of a model: its state, compute units and slots, and what it did. */
function card(one) {
  const good = one.state === "working";
  const units = one.compute_units;
  const rows = units.reduce((sum, unit) => sum + unit.rows, 0);
  const words = [
    `${units.length} compute unit${units.length === 1 ? "" : "s"} of ${one.slots} slots`,
    `${number(one.launches)} launches`, `${number(rows)} rows inside`,
  ];
  if (one.power_w !== undefined) words.push(`${number(one.power_w)} W`);
  if (one.temperature_c !== undefined) words.push(`${number(one.temperature_c)} °C`);
  if (one.restarts > 0) words.push(`started again ${number(one.restarts)} time${one.restarts === 1 ? "" : "s"}`);
  const reason = one.why ? [element("p", { class: "reason" }, one.why)] : [];
  return element("div", { class: "runner" },
    element("span", { class: `dot ${good ? "good" : "bad"}`, "aria-hidden": "true" }),
    element("strong", {}, `card ${one.card}`), " ", badge(one.state, good ? "good" : "bad"),
    element("p", { class: "reason" }, words.join(", ")), ...reason);
}

const form = new Form();

/** The rows of the models' table, by version. */
const rows = new Map();

class Row {
  constructor(name, version) {
    const cell = (attributes = {}) => element("td", attributes);
    [this.state, this.backends] = [cell(), cell()];
    [this.inferences, this.latency] = [cell({ class: "number" }), cell({ class: "number" })];
    this.test = element("button", { type: "button", "aria-label": `Test ${name} version ${version}` }, "Test");
    this.test.addEventListener("click", () => form.choose(name, version));
    this.node = element(
      "tr",
      { "data-model": name, "data-version": version },
      element("th", { scope: "row" }, name), element("td", {}, version || "–"),
      this.state, this.backends, this.inferences, this.latency, element("td", {}, this.test),
    );
  }

  describe(entry, { backends = [], cards = [] }) {
    const reason = entry.reason ? [element("p", { class: "reason" }, entry.reason)] : [];
    setChildren(this.state, badge(entry.state || "not loaded", KINDS[entry.state]), ...reason);
    setChildren(this.backends, ...backends.map(runner), ...cards.map(card));
    this.test.hidden = entry.state !== "READY";
  }

  show(rates) {
    setText(this.inferences, rates === undefined ? "–" : number(rates.inferences));
    const latency = rates?.latency ?? null;
    setText(this.latency, latency === null ? "–" : time(latency));
    const where = () => `queue ${time(rates.queue ?? 0)}, compute ${time(rates.compute ?? 0)}`;
    this.latency.title = latency === null ? "" : where();
  }
}

/** What is in the repository; where clients may not ask for that, what answers. */
function showModels(index, backends) {
  const running = new Map((backends?.models ?? []).map((m) => [key(m.name, m.version), m]));
  const ready = (m) => ({ name: m.name, version: m.version, state: "READY" });
  const entries = index ?? (backends?.models ?? []).map(ready);
  const names = new Set();
  const nodes = [];
  const versions = new Map();
  for (const entry of entries) {
    const version = entry.version ?? "";
    const name = key(entry.name, version);
    names.add(name);
    if (!rows.has(name)) rows.set(name, new Row(entry.name, version));
    rows.get(name).describe(entry, running.get(name) ?? {});
    nodes.push(rows.get(name).node);
    if (entry.state === "READY") versions.set(entry.name, [...(versions.get(entry.name) ?? []), version]);
  }
  for (const name of rows.keys()) if (!names.has(name)) rows.delete(name);
  const body = part("models").tBodies[0];
  const differs = nodes.length !== body.rows.length || nodes.some((node, i) => node !== body.rows[i]);
  if (differs) body.replaceChildren(...nodes);
  part("models-none").hidden = nodes.length > 0;
  form.update(versions);
}

function showBackends(backends) {
  const row = ({ name, available, detail }) =>
    element("tr", {}, element("th", { scope: "row" }, name),
      element("td", {}, badge(available ? "available" : "not available", available ? "good" : "")),
      element("td", { class: "wide" }, detail));
  setChildren(part("backends").tBodies[0], ...backends.map(row));
}

function showReadiness(text, kind) {
  const node = part("readiness");
  setText(node, text);
  node.className = `badge ${kind}`;
}

/** Whether the server waits for a token. */
let locked = false;

function askForToken(error) {
  locked = true;
  part("access").hidden = false;
  tell(part("trouble"), api.token() ? error.message : "");
}

part("access").addEventListener("submit", (event) => {
  event.preventDefault();
  api.setToken(part("token").value.trim());
  part("token").value = "";
  part("access").hidden = true;
  locked = false;
  count = 0;
  look();
});

part("forget").addEventListener("click", () => {
  api.setToken("");
  location.reload();
});

/** Runs a call of one part of the page: says there what goes wrong, and goes on. */
async function ask(id, call) {
  try {
    const answer = await call();
    if (id) tell(part(id), "");
    return answer;
  } catch (error) {
    // A server that is not there, or lets nobody in, or is asked too often, is so for all parts.
    if ([0, 401, 429].includes(error.status) || !(error instanceof api.ApiError)) throw error;
    if (id) tell(part(id), `${error.status}: ${error.message}`);
    return null;
  }
}

const live = new Live();
let count = 0;

async function lookOnce() {
  showReadiness(...((await ask("", api.ready)) ? ["ready", "good"] : ["not ready", "bad"]));
  const statistics = await ask("live-trouble", api.statistics);
  if (statistics !== null) {
    const rates = live.update(statistics, performance.now());
    if (rates !== null) {
      showRates(rates);
      for (const [name, row] of rows) row.show(rates.each.get(name));
    }
  }
  if (count % SELDOM === 0) {
    const [server, index, backends] = await Promise.all([
      ask("", api.server), ask("models-trouble", api.index), ask("backends-trouble", api.backends),
    ]);
    if (server !== null) {
      setText(part("server-name"), server.name);
      setText(part("server-version"), server.version);
      document.title = server.name;
    }
    showModels(index, backends);
    if (backends !== null) showBackends(backends.backends);
  }
  count += 1;
  part("forget").hidden = !api.token();
  tell(part("trouble"), "");
}

let timer = 0;
let looking = false;

/** Looks now, and again after a while. */
async function look() {
  if (looking) return;
  looking = true;
  clearTimeout(timer);
  let wait = PERIOD;
  try {
    if (!document.hidden) await lookOnce();
  } catch (error) {
    if (error.status === 401) askForToken(error);
    else {
      if (error.status === 0) showReadiness("no answer", "bad");
      tell(part("trouble"), error.status ? `${error.status}: ${error.message}` : error.message);
      wait = Math.max(wait, 1000 * (error.retrySeconds ?? 0));
    }
  }
  looking = false;
  if (!locked) timer = setTimeout(look, wait);
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden && !locked) look();
});
look();
