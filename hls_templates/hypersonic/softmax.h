// Softmax over the channels of a pixel. C: kind; with tables also exponent(x, from), reciprocal(sum), order, max_terms.
#ifndef HYPERSONIC_SOFTMAX_H
#define HYPERSONIC_SOFTMAX_H

#include "accum.h"
#include "hls_stream.h"
#include "types.h"

namespace hypersonic {

enum softmax_kind { softmax_scaled, softmax_legacy, softmax_argmax };

template <class C, int Kind> struct softmax_of;

// Exponentials, scaled by the reciprocal of their sum.
template <class C> struct softmax_of<C, softmax_scaled> {
    static void run(const typename C::x_t *x, typename C::y_t *y) {
#pragma HLS INLINE
        typename C::x_t largest = x[0];
        for (unsigned c = 1; c < C::channels; c++) {
#pragma HLS UNROLL
            if (x[c] > largest)
                largest = x[c];
        }
        typename C::exp_t e[C::channels];
#pragma HLS ARRAY_PARTITION variable=e type=complete
        for (unsigned c = 0; c < C::channels; c++) {
#pragma HLS UNROLL
            e[c] = C::exponent(x[c], largest);
        }
        const typename C::accum_t sum = summing<C, C::order>::run(e, C::channels);
        const typename C::inv_t r = C::reciprocal(sum);
        for (unsigned c = 0; c < C::channels; c++) {
#pragma HLS UNROLL
            y[c] = e[c] * r;
        }
    }
};

// For each element the reciprocal of the sum over the exponentials of all differences to it.
template <class C> struct softmax_of<C, softmax_legacy> {
    static void run(const typename C::x_t *x, typename C::y_t *y) {
#pragma HLS INLINE
        for (unsigned c = 0; c < C::channels; c++) {
#pragma HLS UNROLL
            typename C::exp_t e[C::channels];
#pragma HLS ARRAY_PARTITION variable=e type=complete
            for (unsigned j = 0; j < C::channels; j++) {
#pragma HLS UNROLL
                e[j] = C::exponent(x[j], x[c]);
            }
            const typename C::accum_t sum = summing<C, C::order>::run(e, C::channels);
            y[c] = C::reciprocal(sum);
        }
    }
};

// 1 for the first of the largest elements, 0 for the others.
template <class C> struct softmax_of<C, softmax_argmax> {
    static void run(const typename C::x_t *x, typename C::y_t *y) {
#pragma HLS INLINE
        typename C::x_t largest = x[0];
        unsigned first = 0;
        for (unsigned c = 1; c < C::channels; c++) {
#pragma HLS UNROLL
            if (x[c] > largest) {
                largest = x[c];
                first = c;
            }
        }
        for (unsigned c = 0; c < C::channels; c++) {
#pragma HLS UNROLL
            y[c] = c == first ? typename C::y_t(1) : typename C::y_t(0);
        }
    }
};

template <class C>
void softmax_parallel(const typename C::x_t x[C::pixels * C::channels], typename C::y_t y[C::pixels * C::channels]) {
    for (unsigned p = 0; p < C::pixels; p++) {
#pragma HLS PIPELINE II=1
        typename C::x_t from[C::channels];
        typename C::y_t to[C::channels];
        for (unsigned c = 0; c < C::channels; c++) {
#pragma HLS UNROLL
            from[c] = x[p * C::channels + c];
        }
        softmax_of<C, C::kind>::run(from, to);
        for (unsigned c = 0; c < C::channels; c++) {
#pragma HLS UNROLL
            y[p * C::channels + c] = to[c];
        }
    }
}

template <class C>
void softmax_stream(hls::stream<beat<typename C::x_t, C::channels> > &x,
                    hls::stream<beat<typename C::y_t, C::channels> > &y, unsigned rows) {
    for (unsigned r = 0; r < rows; r++) {
        for (unsigned p = 0; p < C::pixels; p++) {
#pragma HLS PIPELINE II=1
            const beat<typename C::x_t, C::channels> from = x.read();
            beat<typename C::y_t, C::channels> to;
            softmax_of<C, C::kind>::run(from.v, to.v);
            y.write(to);
        }
    }
}

} // namespace hypersonic

#endif
