// @MODEL@ as a host sees it: its tensors, rows of floats as its kernel packs them and back, and the check of the
// trailer that the kernel leaves behind its results. Written by Hypersonic; C++17, the standard library only.
//
//     std::vector<std::uint8_t> x = pack(inputs[0], values, rows);             // the kernel's input buffer
//     std::vector<std::uint8_t> y(output_bytes(outputs[0], rows));             // its output buffer
//     check_trailer(outputs[0], y.data(), y.size(), rows);                     // after the run; throws Error
//     std::vector<float> results = unpack(outputs[0], y.data(), y.size(), rows);
#ifndef HYPERSONIC_HOST_@GUARD@_HPP
#define HYPERSONIC_HOST_@GUARD@_HPP

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace hypersonic::@TOP@ {

/// What a call on this model may throw; what() says what was found and what was expected.
class Error : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// What a cast does with the fraction bits that it drops (AP_TRN and so on).
enum class Rounding { trn, trn_zero, rnd, rnd_zero, rnd_min_inf, rnd_inf, rnd_conv };

/// What a cast does with values out of range (AP_WRAP and so on).
enum class Overflow { wrap, wrap_sm, sat, sat_zero, sat_sym };

/// A fixed-point type: a code c stands for the value c * 2^-fraction.
struct Type {
    bool is_signed;
    int width;
    int fraction;
    Rounding rounding;
    Overflow overflow;
    /// Saturated bits of the wrapping modes, else 0.
    int saturated;
    std::string_view text;
};

/// An input or output of the model, and its rows at the kernel's boundary.
struct Tensor {
    /// ONNX name.
    std::string_view name;
    /// The kernel's argument.
    std::string_view argument;
    Type type;
    /// Number of axes, without the batch axis.
    std::size_t rank;
    /// ONNX shape.
    const std::size_t *shape;
    /// Axis i of a packed row is ONNX axis perm[i].
    const std::size_t *perm;
    /// Elements of a row.
    std::size_t elements;
    /// Bytes of a packed element: 1, 2, 4 or 8, little-endian, sign- or zero-extended.
    std::size_t element_bytes;
    /// Bytes from one packed row to the next.
    std::size_t stride;
};

/// Name of the model.
inline constexpr std::string_view model_name = @MODEL_TEXT@;
/// Name of the kernel in the xclbin.
inline constexpr std::string_view kernel_name{"@KERNEL@"};
/// Version of the kernel ABI: how rows are packed, what the trailer holds.
inline constexpr std::uint32_t abi_version = @ABI@;
/// Identity of the model's bits.
inline constexpr std::string_view fingerprint_text{"@FINGERPRINT@"};
/// Its first bytes, as the trailer has them.
inline constexpr std::array<std::uint8_t, 16> fingerprint = {@FINGERPRINT_BYTES@};
/// Path in the package of the weights that the kernel reads through an argument of its own; empty: it has none.
inline constexpr std::string_view weights_path{"@WEIGHTS_PATH@"};
/// Bytes of that file.
inline constexpr std::size_t weights_bytes = @WEIGHTS_BYTES@;

@AXES@
/// The inputs, in model order.
inline constexpr std::array<Tensor, @INPUTS@> inputs = {{
@INPUT_TENSORS@}};
/// The outputs, in model order.
inline constexpr std::array<Tensor, @OUTPUTS@> outputs = {{
@OUTPUT_TENSORS@}};

/// Buffers are a multiple of this many bytes, filled up with zeros; the trailer has as many.
inline constexpr std::size_t block_bytes = 64;

namespace detail {

inline std::string quoted(std::string_view name) { return "'" + std::string(name) + "'"; }

/// a * b; throws Error where no buffer can be so large.
inline std::size_t product(std::size_t a, std::size_t b) {
    // Room is left for the padding and the trailer.
    if (b != 0 && a > (std::numeric_limits<std::size_t>::max() - 2 * block_bytes) / b)
        throw Error(std::to_string(a) + " x " + std::to_string(b) + " is more than memory can hold; pass fewer rows");
    return a * b;
}

/// Smallest code.
inline std::int64_t lowest(const Type &t) {
    return t.is_signed ? static_cast<std::int64_t>(~std::uint64_t{0} << (t.width - 1)) : 0;
}

/// Largest code.
inline std::int64_t highest(const Type &t) {
    return static_cast<std::int64_t>((std::uint64_t{1} << (t.width - (t.is_signed ? 1 : 0))) - 1);
}

/// The code at the end of the range.
inline std::int64_t clip(const Type &t, bool negative) {
    const bool symmetric = negative && t.is_signed && t.overflow == Overflow::sat_sym;
    return (negative ? lowest(t) : highest(t)) + (symmetric ? 1 : 0);
}

/// Ones at bits from..to.
inline std::uint64_t field(int from, int to) {
    const auto ones = [](int n) { return n >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << n) - 1; };
    return ones(to) & ~ones(from);
}

inline bool bit(std::uint64_t v, int at) { return (v >> at) & 1; }

inline std::uint64_t set_bit(std::uint64_t v, int at, bool to) {
    const std::uint64_t mask = std::uint64_t{1} << at;
    return to ? v | mask : v & ~mask;
}

/// The low bits of v as a code: sign-extended where the type is signed.
inline std::int64_t keep(const Type &t, std::uint64_t v) {
    const int gap = 64 - t.width;
    v <<= gap;
    return t.is_signed ? static_cast<std::int64_t>(v) >> gap : static_cast<std::int64_t>(v >> gap);
}

/// Sign bit as given, the n - 1 bits below it its opposite.
inline std::uint64_t with_top(std::uint64_t v, int width, int n, bool negative) {
    v = set_bit(v, width - 1, negative);
    const std::uint64_t top = n > 1 ? field(width - n, width - 1) : 0;
    return negative ? v & ~top : v | top;
}

/// The code of a rounded value out of range: `low` are its low bits, `deleted` the first bit above those kept.
inline std::int64_t out_of_range(const Type &t, std::uint64_t low, bool negative, bool deleted) {
    const int w = t.width, n = t.saturated;
    switch (t.overflow) {
    case Overflow::sat_zero:
        return 0;
    case Overflow::sat:
    case Overflow::sat_sym:
        return clip(t, negative);
    case Overflow::wrap:
        if (n > 0)
            low = t.is_signed ? with_top(low, w, n, negative) : low | field(w - n, w);
        return keep(t, low);
    case Overflow::wrap_sm:
        if (!t.is_signed)
            return clip(t, negative);
        if (n == 0)
            return keep(t, deleted == bit(low, w - 1) ? low : set_bit(~low, w - 1, deleted));
        if (n == 1 ? negative != bit(low, w - 1) : bit(low, w - n) == negative)
            low = ~low;
        return keep(t, with_top(low, w, n, negative));
    }
    return 0;
}

/// Whether code / 2^drop, its fraction cut off, is one too small. `half` is the first bit cut off, `rest` the others.
inline bool rounds_up(Rounding mode, bool negative, bool odd, bool half, bool rest) {
    switch (mode) {
    case Rounding::trn:
        return false;
    case Rounding::trn_zero:
        return negative && (half || rest);
    case Rounding::rnd:
        return half;
    case Rounding::rnd_zero:
        return half && (negative || rest);
    case Rounding::rnd_min_inf:
        return half && rest;
    case Rounding::rnd_inf:
        return half && (!negative || rest);
    case Rounding::rnd_conv:
        return half && (odd || rest);
    }
    return false;
}

/// Whether the value is NaN, whatever the compiler believes about floats.
inline bool is_nan(float value) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return (bits & 0x7fffffff) > 0x7f800000;
}

/// The code that a number, not NaN, is cast to: its exact binary value is rounded, then brought into range.
inline std::int64_t code_of(const Type &t, float value) {
    const double wide = static_cast<double>(value);
    std::uint64_t bits;
    std::memcpy(&bits, &wide, sizeof bits);
    const bool negative = bits >> 63;
    const int exponent = static_cast<int>(bits >> 52 & 0x7ff);
    if (exponent == 0x7ff)
        return clip(t, negative);
    if (exponent == 0) // Zero: every other single-precision number is a normal double.
        return 0;
    const auto magnitude = static_cast<std::int64_t>((bits & 0xfffffffffffff) | 0x10000000000000);
    // The value is code * 2^(exponent - 1075), and so has drop fraction bits more than the type.
    const std::int64_t code = negative ? -magnitude : magnitude;
    const int drop = 1075 - exponent - t.fraction;
    const int above = drop + t.width;
    const bool deleted = above >= 0 && above < 55 && code >> above & 1;
    const std::int64_t lo = lowest(t), hi = highest(t);
    if (drop > 0) {
        // 54 bits are code and sign: beyond them all bits are the sign.
        const int shift = drop < 60 ? drop : 60;
        const std::int64_t kept = code >> shift;
        const bool half = code >> (shift - 1) & 1;
        const bool rest = (static_cast<std::uint64_t>(code) & field(0, shift - 1)) != 0;
        const std::int64_t rounded = kept + (rounds_up(t.rounding, negative, kept & 1, half, rest) ? 1 : 0);
        if (rounded < lo || rounded > hi)
            return out_of_range(t, static_cast<std::uint64_t>(rounded), rounded < 0, deleted);
        return rounded == lo ? clip(t, true) : rounded;
    }
    const int up = -drop;
    const std::uint64_t low = up < 64 ? static_cast<std::uint64_t>(code) << up : 0;
    const auto shifted = static_cast<std::int64_t>(low);
    const bool whole = up < 64 && shifted >> up == code;
    if (!whole || shifted < lo || shifted > hi)
        return out_of_range(t, low, negative, deleted);
    return shifted == lo ? clip(t, true) : shifted;
}

/// The value of a code, rounded once, to nearest even, where single precision cannot hold it.
inline float value_of(const Type &t, std::int64_t code) {
    const std::int64_t exact = std::int64_t{1} << 53;
    const bool fits = code > -exact && code < exact;
    const double number = fits ? static_cast<double>(code) : static_cast<double>(static_cast<float>(code));
    return static_cast<float>(std::ldexp(number, -t.fraction));
}

/// For each element of a packed row, its place in a row of ONNX order.
inline std::vector<std::size_t> places(const Tensor &t) {
    std::vector<std::size_t> step(t.rank, 1);
    for (std::size_t axis = t.rank; axis-- > 1;)
        step[axis - 1] = step[axis] * t.shape[axis];
    std::vector<std::size_t> places(t.elements), at(t.rank, 0);
    for (std::size_t &place : places) {
        for (std::size_t i = 0; i < t.rank; i++)
            place += at[i] * step[t.perm[i]];
        for (std::size_t i = t.rank; i-- > 0 && ++at[i] == t.shape[t.perm[i]];)
            at[i] = 0;
    }
    return places;
}

inline std::uint32_t u32_at(const std::uint8_t *p) {
    return p[0] | std::uint32_t{p[1]} << 8 | std::uint32_t{p[2]} << 16 | std::uint32_t{p[3]} << 24;
}

template <std::size_t N>
const Tensor &named(const std::array<Tensor, N> &tensors, std::string_view name, const char *what) {
    std::string names;
    for (const Tensor &t : tensors) {
        if (t.name == name)
            return t;
        names += (names.empty() ? "" : ", ") + quoted(t.name);
    }
    throw Error("the model has no " + std::string(what) + " " + quoted(name) + "; it has " + names);
}

} // namespace detail

/// The input of this name; throws Error where there is none.
inline const Tensor &input(std::string_view name) { return detail::named(inputs, name, "input"); }

/// The output of this name; throws Error where there is none.
inline const Tensor &output(std::string_view name) { return detail::named(outputs, name, "output"); }

/// Bytes of packed rows, filled up to whole blocks: the size of an input buffer, and where an output's trailer begins.
inline std::size_t row_bytes(const Tensor &t, std::size_t rows) {
    return (detail::product(t.stride, rows) + block_bytes - 1) / block_bytes * block_bytes;
}

/// Size of an output buffer: the rows and the trailer.
inline std::size_t output_bytes(const Tensor &t, std::size_t rows) { return row_bytes(t, rows) + block_bytes; }

/// Packs `rows` rows of values in ONNX order, `t.elements` each, into row_bytes(t, rows) bytes. Values are rounded and
/// brought into range as the input's type says; infinities become the ends of the range. Throws Error on NaN.
inline void pack(const Tensor &t, const float *values, std::size_t rows, std::uint8_t *packed) {
    const std::vector<std::size_t> places = detail::places(t);
    std::fill_n(packed, row_bytes(t, rows), std::uint8_t{0});
    for (std::size_t row = 0; row < rows; row++) {
        const float *from = values + row * t.elements;
        std::uint8_t *to = packed + row * t.stride;
        for (const std::size_t place : places) {
            if (detail::is_nan(from[place]))
                throw Error("input " + detail::quoted(t.name) + ", row " + std::to_string(row) + ", element " +
                            std::to_string(place) + " is NaN; fixed point has no such value");
            const auto code = static_cast<std::uint64_t>(detail::code_of(t.type, from[place]));
            for (std::size_t byte = 0; byte < t.element_bytes; byte++)
                *to++ = static_cast<std::uint8_t>(code >> 8 * byte);
        }
    }
}

/// As above; throws Error where there are not rows * t.elements values.
inline std::vector<std::uint8_t> pack(const Tensor &t, const std::vector<float> &values, std::size_t rows) {
    if (values.size() != detail::product(t.elements, rows))
        throw Error("input " + detail::quoted(t.name) + " has " + std::to_string(values.size()) + " values; " +
                    std::to_string(rows) + " rows have " + std::to_string(t.elements * rows));
    std::vector<std::uint8_t> packed(row_bytes(t, rows));
    pack(t, values.data(), rows, packed.data());
    return packed;
}

/// The values, in ONNX order, of packed rows; `values` has room for rows * t.elements of them.
inline void unpack(const Tensor &t, const std::uint8_t *packed, std::size_t rows, float *values) {
    const std::vector<std::size_t> places = detail::places(t);
    for (std::size_t row = 0; row < rows; row++) {
        const std::uint8_t *from = packed + row * t.stride;
        for (const std::size_t place : places) {
            std::uint64_t bits = 0;
            for (std::size_t byte = 0; byte < t.element_bytes; byte++)
                bits |= std::uint64_t{*from++} << 8 * byte;
            values[row * t.elements + place] = detail::value_of(t.type, detail::keep(t.type, bits));
        }
    }
}

/// As above; throws Error where the buffer is too short for the rows.
inline std::vector<float> unpack(const Tensor &t, const std::uint8_t *packed, std::size_t bytes, std::size_t rows) {
    if (bytes < row_bytes(t, rows))
        throw Error("output " + detail::quoted(t.name) + " has " + std::to_string(bytes) + " bytes; " +
                    std::to_string(rows) + " rows take " + std::to_string(row_bytes(t, rows)));
    std::vector<float> values(rows * t.elements);
    unpack(t, packed, rows, values.data());
    return values;
}

/// Checks the trailer of an output buffer after a run of `rows` rows; throws Error where it is not that of a kernel of
/// this ABI and this model that did them all.
inline void check_trailer(const Tensor &t, const std::uint8_t *packed, std::size_t bytes, std::size_t rows) {
    const std::string where = "output " + detail::quoted(t.name) + ": ";
    if (bytes < output_bytes(t, rows))
        throw Error(where + "the buffer has " + std::to_string(bytes) + " bytes; " + std::to_string(rows) +
                    " rows and the trailer take " + std::to_string(output_bytes(t, rows)));
    const std::uint8_t *trailer = packed + row_bytes(t, rows);
    if (std::memcmp(trailer, "hypersnc", 8) != 0)
        throw Error(where + "there is no trailer behind the rows: the kernel did not finish, or it is none of "
                            "Hypersonic's; load the xclbin that was built from this package");
    const std::uint32_t abi = detail::u32_at(trailer + 8), done = detail::u32_at(trailer + 12);
    if (abi != abi_version)
        throw Error(where + "the kernel has ABI version " + std::to_string(abi) + ", this header is for version " +
                    std::to_string(abi_version) + "; compile the model again and build its xclbin");
    if (std::memcmp(trailer + 16, fingerprint.data(), fingerprint.size()) != 0) {
        std::string found;
        for (std::size_t i = 16; i < 32; i++) {
            found += "0123456789abcdef"[trailer[i] >> 4];
            found += "0123456789abcdef"[trailer[i] & 15];
        }
        throw Error(where + "the kernel computes another model, of fingerprint " + found + "..., not " +
                    std::string(fingerprint_text.substr(0, 32)) +
                    "...; load the xclbin that was built from this package");
    }
    if (done != rows)
        throw Error(where + "the kernel did " + std::to_string(done) + " of " + std::to_string(rows) + " rows");
}

} // namespace hypersonic::@TOP@

#endif
