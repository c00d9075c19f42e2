// Ops that only move elements.
#ifndef HYPERSONIC_MOVE_H
#define HYPERSONIC_MOVE_H

#include "hls_stream.h"
#include "types.h"

namespace hypersonic {

// y[i] = x[C::source(i)]; zero where C::inside(i) is false.
template <class C> void move_parallel(const typename C::x_t x[C::n_in], typename C::x_t y[C::n_y]) {
    for (unsigned i = 0; i < C::n_y; i++) {
#pragma HLS PIPELINE II=1
        y[i] = C::inside(i) ? x[C::source(i)] : typename C::x_t(0);
    }
}

template <class T, unsigned N> void copy_parallel(const T x[N], T y[N]) {
    for (unsigned i = 0; i < N; i++) {
#pragma HLS PIPELINE II=1
        y[i] = x[i];
    }
}

template <class T, unsigned N> void forward_stream(hls::stream<beat<T, N> > &x, hls::stream<beat<T, N> > &y,
                                                   unsigned beats, unsigned rows) {
    for (unsigned r = 0; r < rows; r++) {
        for (unsigned p = 0; p < beats; p++) {
#pragma HLS PIPELINE II=1
            y.write(x.read());
        }
    }
}

// Takes the beats of a value that nothing reads.
template <class T, unsigned N> void drain_stream(hls::stream<beat<T, N> > &x, unsigned beats, unsigned rows) {
    for (unsigned r = 0; r < rows; r++) {
        for (unsigned p = 0; p < beats; p++) {
#pragma HLS PIPELINE II=1
            x.read();
        }
    }
}

// The same elements in beats of Ratio times as many.
template <class T, unsigned N, unsigned Ratio>
void widen_stream(hls::stream<beat<T, N> > &x, hls::stream<beat<T, N * Ratio> > &y, unsigned beats, unsigned rows) {
    beat<T, N * Ratio> to;
    for (unsigned r = 0; r < rows; r++) {
        for (unsigned p = 0; p < beats; p++) {
            for (unsigned part = 0; part < Ratio; part++) {
#pragma HLS PIPELINE II=1
                const beat<T, N> from = x.read();
                for (unsigned c = 0; c < N; c++) {
#pragma HLS UNROLL
                    to.v[part * N + c] = from.v[c];
                }
                if (part == Ratio - 1)
                    y.write(to);
            }
        }
    }
}

// The same elements in beats of a Ratio-th.
template <class T, unsigned N, unsigned Ratio>
void narrow_stream(hls::stream<beat<T, N * Ratio> > &x, hls::stream<beat<T, N> > &y, unsigned beats, unsigned rows) {
    beat<T, N * Ratio> from;
    for (unsigned r = 0; r < rows; r++) {
        for (unsigned p = 0; p < beats; p++) {
            for (unsigned part = 0; part < Ratio; part++) {
#pragma HLS PIPELINE II=1
                if (part == 0)
                    from = x.read();
                beat<T, N> to;
                for (unsigned c = 0; c < N; c++) {
#pragma HLS UNROLL
                    to.v[c] = from.v[part * N + c];
                }
                y.write(to);
            }
        }
    }
}

// Any rearrangement: the tensor is stored, then written out. C as for move_parallel, and in_beats, in_channels,
// out_beats, out_channels.
template <class C>
void rearrange_stream(hls::stream<beat<typename C::x_t, C::in_channels> > &x,
                      hls::stream<beat<typename C::x_t, C::out_channels> > &y, unsigned rows) {
    typename C::x_t frame[C::n_in];
    for (unsigned r = 0; r < rows; r++) {
        for (unsigned p = 0; p < C::in_beats; p++) {
#pragma HLS PIPELINE
            const beat<typename C::x_t, C::in_channels> from = x.read();
            for (unsigned c = 0; c < C::in_channels; c++) {
                frame[p * C::in_channels + c] = from.v[c];
            }
        }
        for (unsigned p = 0; p < C::out_beats; p++) {
#pragma HLS PIPELINE
            beat<typename C::x_t, C::out_channels> to;
            for (unsigned c = 0; c < C::out_channels; c++) {
                to.v[c] = frame[C::source(p * C::out_channels + c)];
            }
            y.write(to);
        }
    }
}

// Zeros around the tensor. C: out_beats, in_channels, out_channels, before (channels of zeros before),
// inside_beat(p).
template <class C>
void pad_stream(hls::stream<beat<typename C::x_t, C::in_channels> > &x,
                hls::stream<beat<typename C::x_t, C::out_channels> > &y, unsigned rows) {
    for (unsigned r = 0; r < rows; r++) {
        for (unsigned p = 0; p < C::out_beats; p++) {
#pragma HLS PIPELINE II=1
            beat<typename C::x_t, C::out_channels> to;
            for (unsigned c = 0; c < C::out_channels; c++) {
#pragma HLS UNROLL
                to.v[c] = 0;
            }
            if (C::inside_beat(p)) {
                const beat<typename C::x_t, C::in_channels> from = x.read();
                for (unsigned c = 0; c < C::in_channels; c++) {
#pragma HLS UNROLL
                    to.v[C::before + c] = from.v[c];
                }
            }
            y.write(to);
        }
    }
}

} // namespace hypersonic

#endif
