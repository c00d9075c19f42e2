// Sums whose order of additions is part of the result.
#ifndef HYPERSONIC_ACCUM_H
#define HYPERSONIC_ACCUM_H

#include "types.h"

namespace hypersonic {

enum accum_order { order_sequential, order_strided, order_blocked, order_tree };

// Index of the term that comes at place `p` when the terms i, i + rf, ... of i = 0, 1, ... follow each other.
inline unsigned strided(unsigned p, unsigned terms, unsigned rf) {
#pragma HLS INLINE
    const unsigned whole = terms / rf;
    const unsigned longer = terms % rf;
    const unsigned head = longer * (whole + 1);
    if (p < head)
        return p / (whole + 1) + p % (whole + 1) * rf;
    return longer + (p - head) / whole + (p - head) % whole * rf;
}

// C: accum_t, max_terms, rf. Sums the first n of t, each addition exact and then cast to accum_t.
template <class C, int Order> struct summing;

template <class C> struct summing<C, order_sequential> {
    template <class T> static typename C::accum_t run(const T *t, unsigned n) {
#pragma HLS INLINE
        typename C::accum_t sum = 0;
        for (unsigned i = 0; i < C::max_terms; i++) {
#pragma HLS UNROLL
            if (i < n)
                sum = sum + t[i];
        }
        return sum;
    }
};

template <class C> struct summing<C, order_strided> {
    template <class T> static typename C::accum_t run(const T *t, unsigned n) {
#pragma HLS INLINE
        typename C::accum_t sum = 0;
        for (unsigned first = 0; first < C::rf; first++) {
#pragma HLS UNROLL
            for (unsigned i = first; i < C::max_terms; i += C::rf) {
#pragma HLS UNROLL
                if (i < n)
                    sum = sum + t[i];
            }
        }
        return sum;
    }
};

template <class C> struct summing<C, order_blocked> {
    template <class T> static typename C::accum_t run(const T *t, unsigned n) {
#pragma HLS INLINE
        typename C::accum_t sum = 0;
        for (unsigned first = 0; first < C::max_terms; first += C::rf) {
#pragma HLS UNROLL
            typename C::accum_t part = 0;
            for (unsigned j = 0; j < C::rf; j++) {
#pragma HLS UNROLL
                if (first + j < n)
                    part = part + t[first + j];
            }
            if (first < n)
                sum = sum + part;
        }
        return sum;
    }
};

// Neighbours are added level by level, an odd one is carried up: the left part of every node has the largest
// power of two below its number of terms.
template <class C> struct summing<C, order_tree> {
    template <class T> static typename C::accum_t run(const T *t, unsigned n) {
#pragma HLS INLINE
        typename C::accum_t node[C::max_terms];
#pragma HLS ARRAY_PARTITION variable=node type=complete
        for (unsigned i = 0; i < C::max_terms; i++) {
#pragma HLS UNROLL
            node[i] = i < n ? typename C::accum_t(t[i]) : typename C::accum_t(0);
        }
        for (unsigned step = 1; step < C::max_terms; step *= 2) {
#pragma HLS UNROLL
            for (unsigned i = 0; i + step < C::max_terms; i += 2 * step) {
#pragma HLS UNROLL
                if (i + step < n)
                    node[i] = node[i] + node[i + step];
            }
        }
        return node[0];
    }
};

} // namespace hypersonic

#endif
