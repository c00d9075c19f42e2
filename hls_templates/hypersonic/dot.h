// Dense layers and convolutions.
//
// The products of one pixel are laid out as turns x steps x lanes x depth: in each of turns * steps cycles every
// lane (an output's accumulator) adds `depth` terms. Weights lie in that order, so that a cycle reads one
// contiguous word and each multiplier always feeds the same accumulator.
#ifndef HYPERSONIC_DOT_H
#define HYPERSONIC_DOT_H

#include "accum.h"
#include "types.h"
#include "window.h"

namespace hypersonic {

// C: x_t, w_t, wcode_t, product_t, accum_t, y_t, n_x, n_out, terms, turns, steps, lanes, depth, x_banks, order,
// rf, source(o, p), start(o), finish(sum, i, o).
template <class C, int Order> struct dot_pixel {
    static void run(const typename C::x_t *x, const typename C::wcode_t *w, unsigned pixel, typename C::y_t *y) {
#pragma HLS INLINE
        typename C::accum_t acc[C::lanes];
#pragma HLS ARRAY_PARTITION variable=acc type=complete
        for (unsigned turn = 0; turn < C::turns; turn++) {
            for (unsigned step = 0; step < C::steps; step++) {
#pragma HLS PIPELINE II=1
                for (unsigned m = 0; m < C::lanes; m++) {
#pragma HLS UNROLL
                    const unsigned o = m * C::turns + turn;
                    const unsigned first = ((turn * C::steps + step) * C::lanes + m) * C::depth;
                    typename C::accum_t a = step == 0 ? C::start(o) : acc[m];
                    for (unsigned j = 0; j < C::depth; j++) {
#pragma HLS UNROLL
                        const typename C::product_t t =
                            x[C::source(o, step * C::depth + j)] * from_code<typename C::w_t>(w[first + j]);
                        a = a + t;
                    }
                    acc[m] = a;
                    if (step == C::steps - 1)
                        y[o] = C::finish(a, pixel * C::n_out + o, o);
                }
            }
        }
    }
};

// Blocks of rf terms are summed on their own.
template <class C> struct dot_pixel<C, order_blocked> {
    static void run(const typename C::x_t *x, const typename C::wcode_t *w, unsigned pixel, typename C::y_t *y) {
#pragma HLS INLINE
        typename C::accum_t acc[C::lanes];
        typename C::accum_t block[C::lanes];
#pragma HLS ARRAY_PARTITION variable=acc type=complete
#pragma HLS ARRAY_PARTITION variable=block type=complete
        for (unsigned turn = 0; turn < C::turns; turn++) {
            for (unsigned step = 0; step < C::steps; step++) {
#pragma HLS PIPELINE II=1
                for (unsigned m = 0; m < C::lanes; m++) {
#pragma HLS UNROLL
                    const unsigned o = m * C::turns + turn;
                    const unsigned first = ((turn * C::steps + step) * C::lanes + m) * C::depth;
                    typename C::accum_t a = step == 0 ? C::start(o) : acc[m];
                    typename C::accum_t b = step == 0 ? typename C::accum_t(0) : block[m];
                    for (unsigned j = 0; j < C::depth; j++) {
#pragma HLS UNROLL
                        const unsigned p = step * C::depth + j;
                        const typename C::product_t t =
                            x[C::source(o, p)] * from_code<typename C::w_t>(w[first + j]);
                        b = b + t;
                        if (p % C::rf == C::rf - 1 || p == C::terms - 1) {
                            a = a + b;
                            b = 0;
                        }
                    }
                    acc[m] = a;
                    block[m] = b;
                    if (step == C::steps - 1)
                        y[o] = C::finish(a, pixel * C::n_out + o, o);
                }
            }
        }
    }
};

// One output after the other, each as a balanced tree.
template <class C> struct dot_pixel<C, order_tree> {
    static void run(const typename C::x_t *x, const typename C::wcode_t *w, unsigned pixel, typename C::y_t *y) {
#pragma HLS INLINE
        for (unsigned o = 0; o < C::n_out; o++) {
#pragma HLS PIPELINE II=1
            typename C::product_t t[C::terms];
#pragma HLS ARRAY_PARTITION variable=t type=complete
            for (unsigned p = 0; p < C::terms; p++) {
#pragma HLS UNROLL
                t[p] = x[C::source(o, p)] * from_code<typename C::w_t>(w[o * C::terms + p]);
            }
            typename C::accum_t sum = summing<C, order_tree>::run(t, C::terms);
            if (C::has_bias)
                sum = C::start(o) + sum;
            y[o] = C::finish(sum, pixel * C::n_out + o, o);
        }
    }
};

template <class C>
void dense_parallel(const typename C::x_t x[C::n_x], typename C::y_t y[C::n_out], const typename C::wcode_t w[C::n_w]) {
#pragma HLS ARRAY_RESHAPE variable=w type=cyclic factor=C::w_banks
    dot_pixel<C, C::order>::run(x, w, 0, y);
}

template <class C>
inline void conv_at(const typename C::x_t *x, const typename C::wcode_t *w, unsigned d, unsigned h, unsigned col,
                    typename C::y_t *y) {
#pragma HLS INLINE
    typename C::x_t win[C::n_x];
#pragma HLS ARRAY_PARTITION variable=win type=cyclic factor=C::x_banks
    typename C::y_t out[C::n_out];
#pragma HLS ARRAY_PARTITION variable=out type=cyclic factor=C::y_banks
    window_gather<C>(x, d, h, col, win);
    const unsigned pixel = (d * C::out_h + h) * C::out_w + col;
    dot_pixel<C, C::order>::run(win, w, pixel, out);
    for (unsigned o = 0; o < C::n_out; o++) {
#pragma HLS UNROLL
        y[pixel * C::n_out + o] = out[o];
    }
}

// All products of a pixel at once.
template <class C>
void conv_parallel_latency(const typename C::x_t x[C::n_in], typename C::y_t y[C::n_y],
                           const typename C::wcode_t w[C::n_w]) {
    for (unsigned d = 0; d < C::out_d; d++) {
        for (unsigned h = 0; h < C::out_h; h++) {
            for (unsigned col = 0; col < C::out_w; col++) {
#pragma HLS PIPELINE II=1
                conv_at<C>(x, w, d, h, col, y);
            }
        }
    }
}

// A pixel after the other, in turns * steps cycles each.
template <class C>
void conv_parallel_resource(const typename C::x_t x[C::n_in], typename C::y_t y[C::n_y],
                            const typename C::wcode_t w[C::n_w]) {
#pragma HLS ARRAY_RESHAPE variable=w type=cyclic factor=C::w_banks
    for (unsigned d = 0; d < C::out_d; d++) {
        for (unsigned h = 0; h < C::out_h; h++) {
            for (unsigned col = 0; col < C::out_w; col++) {
                conv_at<C>(x, w, d, h, col, y);
            }
        }
    }
}

template <class C>
inline void pointwise_beat(hls::stream<beat<typename C::x_t, C::channels> > &x,
                           hls::stream<beat<typename C::y_t, C::n_out> > &y, const typename C::wcode_t *w,
                           unsigned pixel) {
#pragma HLS INLINE
    const beat<typename C::x_t, C::channels> from = x.read();
    typename C::x_t in[C::n_x];
#pragma HLS ARRAY_PARTITION variable=in type=cyclic factor=C::x_banks
    for (unsigned c = 0; c < C::channels; c++) {
#pragma HLS UNROLL
        in[c] = from.v[c];
    }
    beat<typename C::y_t, C::n_out> to;
    dot_pixel<C, C::order>::run(in, w, pixel, to.v);
    y.write(to);
}

// Dense, or a convolution whose window is one pixel.
template <class C>
void pointwise_stream_latency(hls::stream<beat<typename C::x_t, C::channels> > &x,
                              hls::stream<beat<typename C::y_t, C::n_out> > &y,
                              const typename C::wcode_t w[C::n_w], unsigned rows) {
    for (unsigned r = 0; r < rows; r++) {
        for (unsigned p = 0; p < C::pixels; p++) {
#pragma HLS PIPELINE II=1
            pointwise_beat<C>(x, y, w, p);
        }
    }
}

template <class C>
void pointwise_stream_resource(hls::stream<beat<typename C::x_t, C::channels> > &x,
                               hls::stream<beat<typename C::y_t, C::n_out> > &y,
                               const typename C::wcode_t w[C::n_w], unsigned rows) {
#pragma HLS ARRAY_RESHAPE variable=w type=cyclic factor=C::w_banks
    for (unsigned r = 0; r < rows; r++) {
        for (unsigned p = 0; p < C::pixels; p++) {
            pointwise_beat<C>(x, y, w, p);
        }
    }
}

// Dense over a tensor that arrives pixel by pixel, `folds` of them: each adds its terms to every sum.
template <class C>
void dense_stream_folded(hls::stream<beat<typename C::x_t, C::channels> > &x,
                         hls::stream<beat<typename C::y_t, C::n_out> > &y, const typename C::wcode_t w[C::n_w],
                         unsigned rows) {
#pragma HLS ARRAY_RESHAPE variable=w type=cyclic factor=C::w_banks
    typename C::accum_t acc[C::lanes][C::turns];
#pragma HLS ARRAY_PARTITION variable=acc type=complete dim=1
    for (unsigned r = 0; r < rows; r++) {
        for (unsigned p = 0; p < C::folds; p++) {
            const beat<typename C::x_t, C::channels> from = x.read();
            for (unsigned turn = 0; turn < C::turns; turn++) {
                for (unsigned step = 0; step < C::steps; step++) {
#pragma HLS PIPELINE II=1
                    for (unsigned m = 0; m < C::lanes; m++) {
#pragma HLS UNROLL
                        const unsigned first = (((p * C::turns + turn) * C::steps + step) * C::lanes + m) * C::depth;
                        typename C::accum_t a = p == 0 && step == 0 ? C::start(m * C::turns + turn) : acc[m][turn];
                        for (unsigned j = 0; j < C::depth; j++) {
#pragma HLS UNROLL
                            const typename C::product_t t =
                                from.v[step * C::depth + j] * from_code<typename C::w_t>(w[first + j]);
                            a = a + t;
                        }
                        acc[m][turn] = a;
                    }
                }
            }
        }
        beat<typename C::y_t, C::n_out> to;
        for (unsigned turn = 0; turn < C::turns; turn++) {
#pragma HLS PIPELINE II=1
            for (unsigned m = 0; m < C::lanes; m++) {
#pragma HLS UNROLL
                const unsigned o = m * C::turns + turn;
                to.v[o] = C::finish(acc[m][turn], o, o);
            }
        }
        y.write(to);
    }
}

// One position of the padded input: takes a pixel, and yields one where a window is complete.
template <class C>
inline void conv_position(hls::stream<beat<typename C::x_t, C::channels> > &x,
                          hls::stream<beat<typename C::y_t, C::n_out> > &y, const typename C::wcode_t *w,
                          typename C::x_t *ring, unsigned d, unsigned h, unsigned col, unsigned &pixel) {
#pragma HLS INLINE
    window_push<C>(x, ring, d, h, col);
    if (window_ready<C>(d, h, col)) {
        typename C::x_t win[C::n_x];
#pragma HLS ARRAY_PARTITION variable=win type=cyclic factor=C::x_banks
        window_pick<C>(ring, win);
        beat<typename C::y_t, C::n_out> to;
        dot_pixel<C, C::order>::run(win, w, pixel, to.v);
        y.write(to);
        pixel++;
    }
}

template <class C>
void conv_stream_latency(hls::stream<beat<typename C::x_t, C::channels> > &x,
                         hls::stream<beat<typename C::y_t, C::n_out> > &y, const typename C::wcode_t w[C::n_w],
                         unsigned rows) {
    typename C::x_t ring[C::n_ring];
#pragma HLS ARRAY_PARTITION variable=ring type=cyclic factor=C::ring_banks
    for (unsigned r = 0; r < rows; r++) {
        unsigned pixel = 0;
        for (unsigned d = 0; d < C::padded_d; d++) {
            for (unsigned h = 0; h < C::padded_h; h++) {
                for (unsigned col = 0; col < C::padded_w; col++) {
#pragma HLS PIPELINE II=1
                    conv_position<C>(x, y, w, ring, d, h, col, pixel);
                }
            }
        }
    }
}

template <class C>
void conv_stream_resource(hls::stream<beat<typename C::x_t, C::channels> > &x,
                          hls::stream<beat<typename C::y_t, C::n_out> > &y, const typename C::wcode_t w[C::n_w],
                          unsigned rows) {
#pragma HLS ARRAY_RESHAPE variable=w type=cyclic factor=C::w_banks
    typename C::x_t ring[C::n_ring];
#pragma HLS ARRAY_PARTITION variable=ring type=cyclic factor=C::ring_banks
    for (unsigned r = 0; r < rows; r++) {
        unsigned pixel = 0;
        for (unsigned d = 0; d < C::padded_d; d++) {
            for (unsigned h = 0; h < C::padded_h; h++) {
                for (unsigned col = 0; col < C::padded_w; col++) {
                    conv_position<C>(x, y, w, ring, d, h, col, pixel);
                }
            }
        }
    }
}

} // namespace hypersonic

#endif
