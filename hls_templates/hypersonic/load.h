// Weights that are no constants: read from memory into arrays on the chip, before any row.
//
// A word is the CODES codes that one cycle of a layer reads, each of BYTES bytes; words lie STRIDE bytes apart. STRIDE
// is a power of two up to 64, or a multiple of 64. A word is written at once, because an array's memory is as wide.
#ifndef HYPERSONIC_LOAD_H
#define HYPERSONIC_LOAD_H

#include "hls_stream.h"
#include "types.h"

// Storage for such an array. In simulation it is too large for the stack.
#ifdef __SYNTHESIS__
#define HS_ON_CHIP
#else
#define HS_ON_CHIP static
#endif

namespace hypersonic {

template <unsigned FIRST, unsigned BEATS>
void load_beats(const ap_uint<512> *memory, hls::stream<ap_uint<512> > &y) {
    for (unsigned i = 0; i < BEATS; i++) {
#pragma HLS PIPELINE II=1
        y.write(memory[FIRST + i]);
    }
}

// Several words a beat.
template <class K, unsigned WORDS, unsigned CODES, unsigned BYTES, unsigned STRIDE>
void fill_narrow(hls::stream<ap_uint<512> > &x, K w[WORDS * CODES]) {
    ap_uint<512> beat = 0;
    for (unsigned i = 0; i < WORDS; i++) {
#pragma HLS PIPELINE II=1
        if (i % (64 / STRIDE) == 0)
            beat = x.read();
        else
            beat >>= 8 * (STRIDE % 64);
        for (unsigned c = 0; c < CODES; c++) {
#pragma HLS UNROLL
            const ap_int<8 * BYTES> code = beat.range(8 * BYTES * c + 8 * BYTES - 1, 8 * BYTES * c);
            w[i * CODES + c] = K(code);
        }
    }
}

// Several beats a word.
template <class K, unsigned WORDS, unsigned CODES, unsigned BYTES, unsigned STRIDE>
void fill_wide(hls::stream<ap_uint<512> > &x, K w[WORDS * CODES]) {
    const unsigned beats = STRIDE / 64;
    ap_uint<512> word[beats];
#pragma HLS ARRAY_PARTITION variable=word type=complete
    for (unsigned i = 0; i < WORDS; i++) {
        for (unsigned b = 0; b < beats; b++) {
#pragma HLS PIPELINE II=1
            word[b] = x.read();
            if (b == beats - 1) {
                for (unsigned c = 0; c < CODES; c++) {
#pragma HLS UNROLL
                    const unsigned bit = 8 * (c * BYTES % 64);
                    const ap_int<8 * BYTES> code = word[c * BYTES / 64].range(bit + 8 * BYTES - 1, bit);
                    w[i * CODES + c] = K(code);
                }
            }
        }
    }
}

} // namespace hypersonic

#endif
