// Tensors of the protocol: example values, and their bytes.

/** Elements of a shape. */
export const count = (shape) => shape.reduce((product, size) => product * size, 1);

const LETTERS = "abcdefghijklmnopqrstuvwxyz";
const pick = (most) => Math.floor(Math.random() * most);

const EXAMPLES = {
  BOOL: { zero: false, random: () => Math.random() < 0.5 },
  BYTES: { zero: "", random: () => Array.from({ length: 4 }, () => LETTERS[pick(26)]).join("") },
  FP: { zero: 0, random: () => Math.round((Math.random() * 2 - 1) * 1e4) / 1e4 },
  INT: { zero: 0, random: () => pick(16) - 8 },
  UINT: { zero: 0, random: () => pick(16) },
};

/** `size` values of a datatype: `kind` is zeros or random. */
export function example(datatype, size, kind) {
  const family = datatype === "BF16" ? "FP" : datatype.replace(/\d+$/, "");
  const { zero, random } = EXAMPLES[family] ?? EXAMPLES.FP;
  return Array.from({ length: size }, kind === "zeros" ? () => zero : random);
}

/** Whether values of a datatype cannot be written in JSON. */
export const isBinaryOnly = (datatype) => datatype === "FP16" || datatype === "BF16";

const VIEWS = {
  INT8: Int8Array, INT16: Int16Array, INT32: Int32Array, INT64: BigInt64Array,
  UINT8: Uint8Array, UINT16: Uint16Array, UINT32: Uint32Array, UINT64: BigUint64Array,
  FP32: Float32Array, FP64: Float64Array,
};

/** The float of 16 bits: `exponent` bits, then those of the fraction. */
function fromHalf(bits, exponent) {
  const fraction = 15 - exponent;
  const bias = 2 ** (exponent - 1) - 1;
  const sign = bits >> 15 ? -1 : 1;
  const e = (bits >> fraction) & (2 ** exponent - 1);
  const f = bits & (2 ** fraction - 1);
  if (e === 2 ** exponent - 1) return f ? NaN : sign * Infinity;
  return sign * (e ? 2 ** (e - bias) * (1 + f / 2 ** fraction) : 2 ** (1 - bias) * (f / 2 ** fraction));
}

/** The nearest float of 16 bits, ties to even. */
function toHalf(value, exponent) {
  const fraction = 15 - exponent;
  const bias = 2 ** (exponent - 1) - 1;
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const infinite = (2 ** exponent - 1) << fraction;
  if (Number.isNaN(value)) return infinite | (1 << (fraction - 1));
  const size = Math.abs(value);
  if (size === 0) return sign;
  const e = Math.max(Math.min(Math.floor(Math.log2(size)), bias + 1), 1 - bias);
  const steps = (size / 2 ** e) * 2 ** fraction;
  const down = Math.floor(steps);
  const up = steps - down > 0.5 || (steps - down === 0.5 && down % 2 === 1);
  // A fraction that overflows carries into the exponent; one below 1 is subnormal.
  const bits = ((e + bias - 1) << fraction) + down + (up ? 1 : 0);
  return sign | Math.min(bits, infinite);
}

const HALF_EXPONENT = { FP16: 5, BF16: 8 };

/** Bytes of numbers of a 16-bit float type. */
export function encodeHalf(datatype, values) {
  return new Uint8Array(Uint16Array.from(values, (v) => toHalf(v, HALF_EXPONENT[datatype])).buffer);
}

/** Values in the bytes of an output. */
export function decode(datatype, bytes) {
  if (datatype === "BOOL") return Array.from(new Uint8Array(bytes), (b) => b !== 0);
  if (datatype === "BYTES") return strings(bytes);
  if (isBinaryOnly(datatype)) {
    return Array.from(new Uint16Array(bytes), (bits) => fromHalf(bits, HALF_EXPONENT[datatype]));
  }
  return Array.from(new VIEWS[datatype](bytes));
}

function strings(bytes) {
  const view = new DataView(bytes);
  const found = [];
  for (let at = 0; at + 4 <= bytes.byteLength; ) {
    const length = view.getUint32(at, true);
    found.push(new TextDecoder().decode(bytes.slice(at + 4, at + 4 + length)));
    at += 4 + length;
  }
  return found;
}

/** A value as text; of a single float, the fewest digits that mean no other one. */
function show(datatype, value) {
  if (typeof value === "string") return JSON.stringify(value);
  if (datatype === "FP32" && Number.isFinite(value)) {
    const shorter = [6, 7, 8].map((digits) => Number(value.toPrecision(digits)));
    return String(shorter.find((v) => Math.fround(v) === value) ?? Number(value.toPrecision(9)));
  }
  return String(value);
}

/** Values as text, a line for each row of the last axis. */
export function print(datatype, shape, values) {
  const row = shape.length > 1 ? Math.max(shape[shape.length - 1], 1) : values.length || 1;
  const lines = [];
  for (let at = 0; at < values.length; at += row) {
    lines.push(values.slice(at, at + row).map((v) => show(datatype, v)).join("  "));
  }
  return lines.join("\n");
}
