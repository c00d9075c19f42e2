// Ops element by element. C: pixels, channels, apply(x, i, c) with the flat index i and the channel c.
#ifndef HYPERSONIC_MAP_H
#define HYPERSONIC_MAP_H

#include "hls_stream.h"
#include "types.h"

namespace hypersonic {

template <class C>
void map_parallel(const typename C::x_t x[C::pixels * C::channels], typename C::y_t y[C::pixels * C::channels]) {
    for (unsigned p = 0; p < C::pixels; p++) {
#pragma HLS PIPELINE II=1
        for (unsigned c = 0; c < C::channels; c++) {
#pragma HLS UNROLL
            y[p * C::channels + c] = C::apply(x[p * C::channels + c], p * C::channels + c, c);
        }
    }
}

template <class C>
void zip_parallel(const typename C::a_t a[C::pixels * C::channels], const typename C::b_t b[C::pixels * C::channels],
                  typename C::y_t y[C::pixels * C::channels]) {
    for (unsigned p = 0; p < C::pixels; p++) {
#pragma HLS PIPELINE II=1
        for (unsigned c = 0; c < C::channels; c++) {
#pragma HLS UNROLL
            const unsigned i = p * C::channels + c;
            y[i] = C::apply(a[i], b[i], i, c);
        }
    }
}

template <class C>
void map_stream(hls::stream<beat<typename C::x_t, C::channels> > &x, hls::stream<beat<typename C::y_t, C::channels> > &y,
                unsigned rows) {
    for (unsigned r = 0; r < rows; r++) {
        for (unsigned p = 0; p < C::pixels; p++) {
#pragma HLS PIPELINE II=1
            const beat<typename C::x_t, C::channels> from = x.read();
            beat<typename C::y_t, C::channels> to;
            for (unsigned c = 0; c < C::channels; c++) {
#pragma HLS UNROLL
                to.v[c] = C::apply(from.v[c], p * C::channels + c, c);
            }
            y.write(to);
        }
    }
}

template <class C>
void zip_stream(hls::stream<beat<typename C::a_t, C::channels> > &a, hls::stream<beat<typename C::b_t, C::channels> > &b,
                hls::stream<beat<typename C::y_t, C::channels> > &y, unsigned rows) {
    for (unsigned r = 0; r < rows; r++) {
        for (unsigned p = 0; p < C::pixels; p++) {
#pragma HLS PIPELINE II=1
            const beat<typename C::a_t, C::channels> left = a.read();
            const beat<typename C::b_t, C::channels> right = b.read();
            beat<typename C::y_t, C::channels> to;
            for (unsigned c = 0; c < C::channels; c++) {
#pragma HLS UNROLL
                to.v[c] = C::apply(left.v[c], right.v[c], p * C::channels + c, c);
            }
            y.write(to);
        }
    }
}

} // namespace hypersonic

#endif
