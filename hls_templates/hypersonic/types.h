// Beats of a stream and the way between numbers and their codes.
#ifndef HYPERSONIC_TYPES_H
#define HYPERSONIC_TYPES_H

#include "ap_fixed.h"
#include "ap_int.h"

namespace hypersonic {

// One pixel with all its channels.
template <class T, unsigned N> struct beat {
    T v[N];
};

// The number of type T whose bits are `code`.
template <class T, class K> inline T from_code(const K &code) {
#pragma HLS INLINE
    T value = 0;
    value.range(T::width - 1, 0) = code;
    return value;
}

// The bits of `value` as a K, an ap_int or ap_uint of the same width.
template <class K, class T> inline K to_code(const T &value) {
#pragma HLS INLINE
    K code = 0;
    code.range(T::width - 1, 0) = value.range(T::width - 1, 0);
    return code;
}

} // namespace hypersonic

#endif
