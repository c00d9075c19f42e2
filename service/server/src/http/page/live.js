// Rates and times between two looks at the server's counters.

const COMPUTE = ["compute_input", "compute_infer", "compute_output"];

/** A version's name for maps; no name holds the character between. */
export const key = (name, version) => `${name}\u0000${version}`;

/** What a version has done since it was loaded: counts, and nanoseconds. */
function totals(one) {
  const { success, fail, queue, ...rest } = one.inference_stats;
  return {
    inferences: one.inference_count,
    requests: success.count,
    failures: fail.count,
    latency: success.ns,
    queued: queue.count,
    queue: queue.ns,
    computed: rest.compute_infer.count,
    compute: COMPUTE.reduce((sum, name) => sum + rest[name].ns, 0),
  };
}

const add = (a, b) => Object.fromEntries(Object.keys(a).map((k) => [k, a[k] + b[k]]));
const subtract = (a, b) => Object.fromEntries(Object.keys(a).map((k) => [k, a[k] - b[k]]));
const mean = (sum, count) => (count > 0 ? sum / count : null);

/** Rates a second; means in nanoseconds, `null` where nothing happened. */
function rates(change, seconds) {
  return {
    inferences: change.inferences / seconds,
    requests: change.requests / seconds,
    failures: change.failures / seconds,
    latency: mean(change.latency, change.requests),
    queue: mean(change.queue, change.queued),
    compute: mean(change.compute, change.computed),
  };
}

/** Follows the counters of all versions. */
export class Live {
  constructor() {
    this.last = null;
  }

  /**
   * Takes the counters as they were at `now`, in milliseconds. Returns the rates since the last time, of all versions
   * together and of each; `null` the first time.
   */
  update(statistics, now) {
    const versions = new Map(statistics.map((one) => [key(one.name, one.version), totals(one)]));
    const last = this.last;
    this.last = { versions, now };
    if (last === null || now <= last.now) return null;
    const seconds = (now - last.now) / 1000;
    const each = new Map();
    let all = null;
    for (const [name, total] of versions) {
      const before = last.versions.get(name);
      // A version that was loaded anew counts from 0.
      const restarted = before === undefined || before.requests > total.requests || before.failures > total.failures;
      const change = restarted ? total : subtract(total, before);
      all = all === null ? change : add(all, change);
      each.set(name, rates(change, seconds));
    }
    return { all: all === null ? null : rates(all, seconds), each };
  }
}
