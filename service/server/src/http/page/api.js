// Calls of this server.

const TOKEN = "hypersonic-token";

/** An answer that is no success; `status` 0: there was none. */
export class ApiError extends Error {
  constructor(status, message, retrySeconds = 0) {
    super(message);
    this.status = status;
    this.retrySeconds = retrySeconds;
  }
}

/** The token that calls carry; empty: none. */
export function token() {
  return sessionStorage.getItem(TOKEN) ?? "";
}

export function setToken(value) {
  if (value) sessionStorage.setItem(TOKEN, value);
  else sessionStorage.removeItem(TOKEN);
}

/** The response of a call that succeeded. Throws an ApiError, with the server's own words where it has any. */
export async function call(method, path, body, headers = {}) {
  const sent = token() ? { ...headers, Authorization: `Bearer ${token()}` } : headers;
  let response;
  try {
    // Paths are relative: the page may lie below a prefix of a proxy.
    response = await fetch(path, { method, body, headers: sent, cache: "no-store" });
  } catch (error) {
    throw new ApiError(0, `no answer from the server (${error.message})`);
  }
  if (response.ok) return response;
  const text = await response.text();
  let message = text;
  try {
    message = JSON.parse(text).error ?? text;
  } catch {
    // A proxy's words, as they are.
  }
  const retry = Number(response.headers.get("retry-after"));
  throw new ApiError(response.status, message || `HTTP ${response.status}`, retry);
}

const get = async (path) => (await call("GET", path)).json();

/** Name and version of the server. */
export const server = () => get("v2");

/** Whether the server is ready. */
export async function ready() {
  try {
    await call("GET", "v2/health/ready");
    return true;
  } catch (error) {
    if (error.status === 400) return false;
    throw error;
  }
}

/** The models of the repository. */
export async function index() {
  const headers = { "Content-Type": "application/json" };
  return (await call("POST", "v2/repository/index", "{}", headers)).json();
}

/** Backends of the build and of each version. */
export const backends = () => get("v2/hypersonic/backends");

/** What all versions have done. */
export const statistics = async () => (await get("v2/models/stats")).model_stats;

/** The path of a version of a model; without a version, of the newest. */
function model(name, version) {
  const part = version ? `/versions/${encodeURIComponent(version)}` : "";
  return `v2/models/${encodeURIComponent(name)}${part}`;
}

/** Inputs and outputs of a version. */
export const metadata = (name, version) => get(model(name, version));

const JSON_LENGTH = "Inference-Header-Content-Length";

/**
 * Runs a model. `json` is the text of the request, `binary` the bytes after it. Returns what the answer says, the bytes
 * after it, and the milliseconds from sending to the last byte.
 */
export async function infer(name, version, json, binary) {
  const text = new TextEncoder().encode(json);
  const start = performance.now();
  const response = await call("POST", `${model(name, version)}/infer`, new Blob([text, ...binary]), {
    "Content-Type": "application/octet-stream",
    [JSON_LENGTH]: String(text.length),
  });
  const bytes = await response.arrayBuffer();
  const milliseconds = performance.now() - start;
  const length = Number(response.headers.get(JSON_LENGTH) ?? bytes.byteLength);
  const answer = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 0, length)));
  return { answer, tensors: bytes.slice(length), milliseconds };
}
