// Sliding windows over up to three axes (depth, height, width), channels fastest. Padding is virtual: nothing is
// stored or streamed for it, the window sees zeros.
//
// C: channels, and for each axis a of d, h, w: in_a, kernel_a, stride_a, dilation_a, pad_a (before), padded_a,
// out_a, extent_a = (kernel_a - 1) * dilation_a + 1.
#ifndef HYPERSONIC_WINDOW_H
#define HYPERSONIC_WINDOW_H

#include "ap_shift_reg.h"
#include "hls_stream.h"
#include "types.h"

namespace hypersonic {

// Whether a padded position lies on the input.
inline bool on_input(unsigned at, unsigned pad, unsigned size) {
#pragma HLS INLINE
    return at >= pad && at - pad < size;
}

// Whether the window that ends at a padded position is an output.
inline bool window_ends(unsigned at, unsigned extent, unsigned stride) {
#pragma HLS INLINE
    return at + 1 >= extent && (at + 1 - extent) % stride == 0;
}

// The window of output (d, h, col) from a whole tensor.
template <class C>
inline void window_gather(const typename C::x_t *x, unsigned d, unsigned h, unsigned col, typename C::x_t *win) {
#pragma HLS INLINE
    for (unsigned i = 0; i < C::kernel_d; i++) {
#pragma HLS UNROLL
        for (unsigned j = 0; j < C::kernel_h; j++) {
#pragma HLS UNROLL
            for (unsigned k = 0; k < C::kernel_w; k++) {
#pragma HLS UNROLL
                const unsigned at_d = d * C::stride_d + i * C::dilation_d;
                const unsigned at_h = h * C::stride_h + j * C::dilation_h;
                const unsigned at_w = col * C::stride_w + k * C::dilation_w;
                const bool inside = on_input(at_d, C::pad_d, C::in_d) && on_input(at_h, C::pad_h, C::in_h) &&
                                    on_input(at_w, C::pad_w, C::in_w);
                const unsigned from =
                    (((at_d - C::pad_d) * C::in_h + (at_h - C::pad_h)) * C::in_w + (at_w - C::pad_w)) * C::channels;
                const unsigned to = ((i * C::kernel_h + j) * C::kernel_w + k) * C::channels;
                for (unsigned c = 0; c < C::channels; c++) {
#pragma HLS UNROLL
                    win[to + c] = inside ? x[from + c] : typename C::x_t(0);
                }
            }
        }
    }
}

// Which elements of the window of output (d, h, col) lie on the input.
template <class C> inline void window_covered(unsigned d, unsigned h, unsigned col, bool *covered) {
#pragma HLS INLINE
    for (unsigned i = 0; i < C::kernel_d; i++) {
#pragma HLS UNROLL
        for (unsigned j = 0; j < C::kernel_h; j++) {
#pragma HLS UNROLL
            for (unsigned k = 0; k < C::kernel_w; k++) {
#pragma HLS UNROLL
                covered[(i * C::kernel_h + j) * C::kernel_w + k] =
                    on_input(d * C::stride_d + i * C::dilation_d, C::pad_d, C::in_d) &&
                    on_input(h * C::stride_h + j * C::dilation_h, C::pad_h, C::in_h) &&
                    on_input(col * C::stride_w + k * C::dilation_w, C::pad_w, C::in_w);
            }
        }
    }
}

// Takes the pixel at a padded position (zeros outside the input) and moves the window's rows on by one. The rows
// of the ring, one for each kernel row, oldest first, hold the last extent_w pixels of theirs; each is fed by the
// next newer one through a shift register of one line, or of the lines up to the next kernel plane.
template <class C>
inline void window_push(hls::stream<beat<typename C::x_t, C::channels> > &x, typename C::x_t *ring, unsigned d,
                        unsigned h, unsigned col) {
#pragma HLS INLINE
    static ap_shift_reg<typename C::x_t, C::line_delay> lines[C::n_lines][C::channels];
    static ap_shift_reg<typename C::x_t, C::plane_delay> planes[C::n_planes][C::channels];
#pragma HLS ARRAY_PARTITION variable=lines type=complete dim=0
#pragma HLS ARRAY_PARTITION variable=planes type=complete dim=0
    beat<typename C::x_t, C::channels> pixel;
    if (on_input(d, C::pad_d, C::in_d) && on_input(h, C::pad_h, C::in_h) && on_input(col, C::pad_w, C::in_w)) {
        pixel = x.read();
    } else {
        for (unsigned c = 0; c < C::channels; c++) {
#pragma HLS UNROLL
            pixel.v[c] = 0;
        }
    }
    const unsigned rows = C::kernel_d * C::kernel_h;
    for (unsigned c = 0; c < C::channels; c++) {
#pragma HLS UNROLL
        typename C::x_t value = pixel.v[c];
        for (unsigned age = 0; age < rows; age++) {
#pragma HLS UNROLL
            const unsigned first = (rows - 1 - age) * C::extent_w * C::channels + c;
            for (unsigned k = 0; k + 1 < C::extent_w; k++) {
#pragma HLS UNROLL
                ring[first + k * C::channels] = ring[first + (k + 1) * C::channels];
            }
            ring[first + (C::extent_w - 1) * C::channels] = value;
            if (age + 1 < rows) {
                const unsigned plane = (age + 1) / C::kernel_h;
                if ((age + 1) % C::kernel_h == 0)
                    value = planes[plane - 1][c].shift(value, C::plane_delay - 1);
                else
                    value = lines[age - plane][c].shift(value, C::line_delay - 1);
            }
        }
    }
}

// Whether a window ends at a padded position.
template <class C> inline bool window_ready(unsigned d, unsigned h, unsigned col) {
#pragma HLS INLINE
    return window_ends(d, C::extent_d, C::stride_d) && window_ends(h, C::extent_h, C::stride_h) &&
           window_ends(col, C::extent_w, C::stride_w);
}

// The window's elements from the ring's rows.
template <class C> inline void window_pick(const typename C::x_t *ring, typename C::x_t *win) {
#pragma HLS INLINE
    for (unsigned row = 0; row < C::kernel_d * C::kernel_h; row++) {
#pragma HLS UNROLL
        for (unsigned k = 0; k < C::kernel_w; k++) {
#pragma HLS UNROLL
            for (unsigned c = 0; c < C::channels; c++) {
#pragma HLS UNROLL
                win[(row * C::kernel_w + k) * C::channels + c] =
                    ring[(row * C::extent_w + k * C::dilation_w) * C::channels + c];
            }
        }
    }
}

} // namespace hypersonic

#endif
