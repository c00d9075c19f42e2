// Pooling, channel by channel. C: the window's constants (window.h), y_t, and
//   max: finish(largest);
//   average: accum_t, order, rf, max_terms, include_pad, finish(sum, count).
#ifndef HYPERSONIC_POOL_H
#define HYPERSONIC_POOL_H

#include "accum.h"
#include "types.h"
#include "window.h"

namespace hypersonic {

enum pool_kind { pool_max, pool_average };

template <class C, int Kind> struct pool_pixel;

template <class C> struct pool_pixel<C, pool_max> {
    static void run(const typename C::x_t *win, const bool *covered, typename C::y_t *y) {
#pragma HLS INLINE
        for (unsigned c = 0; c < C::channels; c++) {
#pragma HLS UNROLL
            typename C::x_t largest = win[c];
            bool found = covered[0];
            for (unsigned k = 1; k < C::taps; k++) {
#pragma HLS UNROLL
                const typename C::x_t x = win[k * C::channels + c];
                if (covered[k] && (!found || x > largest))
                    largest = x;
                found = found || covered[k];
            }
            y[c] = C::finish(largest);
        }
    }
};

template <class C> struct pool_pixel<C, pool_average> {
    static void run(const typename C::x_t *win, const bool *covered, typename C::y_t *y) {
#pragma HLS INLINE
        for (unsigned c = 0; c < C::channels; c++) {
#pragma HLS UNROLL
            typename C::x_t terms[C::taps];
#pragma HLS ARRAY_PARTITION variable=terms type=complete
            unsigned n = 0;
            for (unsigned k = 0; k < C::taps; k++) {
#pragma HLS UNROLL
                if (!C::padded || covered[k]) {
                    terms[n] = win[k * C::channels + c];
                    n++;
                }
            }
            const typename C::accum_t sum = summing<C, C::order>::run(terms, n);
            y[c] = C::finish(sum, C::include_pad ? C::taps : n);
        }
    }
};

template <class C>
inline void pool_at(const typename C::x_t *win, unsigned d, unsigned h, unsigned col, typename C::y_t *y) {
#pragma HLS INLINE
    bool covered[C::taps];
#pragma HLS ARRAY_PARTITION variable=covered type=complete
    window_covered<C>(d, h, col, covered);
    pool_pixel<C, C::kind>::run(win, covered, y);
}

template <class C> void pool_parallel(const typename C::x_t x[C::n_in], typename C::y_t y[C::n_y]) {
    for (unsigned d = 0; d < C::out_d; d++) {
        for (unsigned h = 0; h < C::out_h; h++) {
            for (unsigned col = 0; col < C::out_w; col++) {
#pragma HLS PIPELINE II=1
                typename C::x_t win[C::n_x];
#pragma HLS ARRAY_PARTITION variable=win type=cyclic factor=C::x_banks
                typename C::y_t out[C::channels];
#pragma HLS ARRAY_PARTITION variable=out type=cyclic factor=C::y_banks
                window_gather<C>(x, d, h, col, win);
                pool_at<C>(win, d, h, col, out);
                for (unsigned c = 0; c < C::channels; c++) {
#pragma HLS UNROLL
                    y[((d * C::out_h + h) * C::out_w + col) * C::channels + c] = out[c];
                }
            }
        }
    }
}

template <class C>
void pool_stream(hls::stream<beat<typename C::x_t, C::channels> > &x,
                 hls::stream<beat<typename C::y_t, C::channels> > &y, unsigned rows) {
    typename C::x_t ring[C::n_ring];
#pragma HLS ARRAY_PARTITION variable=ring type=cyclic factor=C::ring_banks
    for (unsigned r = 0; r < rows; r++) {
        for (unsigned d = 0; d < C::padded_d; d++) {
            for (unsigned h = 0; h < C::padded_h; h++) {
                for (unsigned col = 0; col < C::padded_w; col++) {
#pragma HLS PIPELINE II=1
                    window_push<C>(x, ring, d, h, col);
                    if (window_ready<C>(d, h, col)) {
                        typename C::x_t win[C::n_x];
#pragma HLS ARRAY_PARTITION variable=win type=cyclic factor=C::x_banks
                        window_pick<C>(ring, win);
                        beat<typename C::y_t, C::channels> to;
                        pool_at<C>(win, (d + 1 - C::extent_d) / C::stride_d, (h + 1 - C::extent_h) / C::stride_h,
                                   (col + 1 - C::extent_w) / C::stride_w, to.v);
                        y.write(to);
                    }
                }
            }
        }
    }
}

// The whole tensor to one pixel, without keeping it.
template <class C, int Kind> struct pool_running;

template <class C> struct pool_running<C, pool_max> {
    typedef typename C::x_t state_t;
    static state_t start(const typename C::x_t &x) { return x; }
    static state_t next(const state_t &s, const typename C::x_t &x) { return x > s ? x : s; }
    static typename C::y_t finish(const state_t &s) { return C::finish(s); }
};

template <class C> struct pool_running<C, pool_average> {
    typedef typename C::accum_t state_t;
    static state_t start(const typename C::x_t &x) { return state_t(x); }
    static state_t next(const state_t &s, const typename C::x_t &x) { return state_t(s + x); }
    static typename C::y_t finish(const state_t &s) { return C::finish(s, C::taps); }
};

template <class C>
void pool_whole_stream(hls::stream<beat<typename C::x_t, C::channels> > &x,
                       hls::stream<beat<typename C::y_t, C::channels> > &y, unsigned rows) {
    typedef pool_running<C, C::kind> running;
    typename running::state_t state[C::channels];
#pragma HLS ARRAY_PARTITION variable=state type=cyclic factor=C::y_banks
    for (unsigned r = 0; r < rows; r++) {
        for (unsigned p = 0; p < C::taps; p++) {
#pragma HLS PIPELINE II=1
            const beat<typename C::x_t, C::channels> from = x.read();
            beat<typename C::y_t, C::channels> to;
            for (unsigned c = 0; c < C::channels; c++) {
#pragma HLS UNROLL
                state[c] = p == 0 ? running::start(from.v[c]) : running::next(state[c], from.v[c]);
                to.v[c] = running::finish(state[c]);
            }
            if (p == C::taps - 1)
                y.write(to);
        }
    }
}

} // namespace hypersonic

#endif
