// The kernel's ends: packed rows in memory, and beats of the network.
//
// Rows lie one after the other, STRIDE bytes apart, in beats of 512 bits. A row is PIECES pieces of PIECE bytes, one a
// beat of the network, and PAD bytes. Between memory and network a piece travels as words of WORD bytes, its first byte
// first: one word of its own size, or words of 64 bytes. All positions are multiples of UNIT bytes, so that each slice
// below has constant bounds.
#ifndef HYPERSONIC_ROWS_H
#define HYPERSONIC_ROWS_H

#include "hls_stream.h"
#include "types.h"

namespace hypersonic {

// Beats of `rows` rows.
template <unsigned STRIDE> inline unsigned long long row_beats(unsigned rows) {
#pragma HLS INLINE
    return (STRIDE * (unsigned long long)rows + 63) / 64;
}

// Memory to beats.
template <unsigned STRIDE>
void load_rows(const ap_uint<512> *memory, hls::stream<ap_uint<512> > &y, unsigned rows) {
    const unsigned long long beats = row_beats<STRIDE>(rows);
    for (unsigned long long i = 0; i < beats; i++) {
#pragma HLS PIPELINE II=1
        y.write(memory[i]);
    }
}

// C: abi, fingerprint_low, fingerprint_high.
template <class C> inline ap_uint<512> trailer(unsigned rows) {
#pragma HLS INLINE
    ap_uint<512> t = 0;
    t.range(63, 0) = 0x636e737265707968ULL; // "hypersnc"
    t.range(95, 64) = C::abi;
    t.range(127, 96) = rows;
    t.range(191, 128) = C::fingerprint_low;
    t.range(255, 192) = C::fingerprint_high;
    return t;
}

// Beats to memory, and the trailer behind them.
template <class C, unsigned STRIDE>
void store_rows(hls::stream<ap_uint<512> > &x, ap_uint<512> *memory, unsigned rows) {
    const unsigned long long beats = row_beats<STRIDE>(rows);
    for (unsigned long long i = 0; i <= beats; i++) {
#pragma HLS PIPELINE II=1
        ap_uint<512> beat = trailer<C>(rows);
        if (i < beats)
            beat = x.read();
        memory[i] = beat;
    }
}

// The WORD bytes from unit `at` of `low` on, which `high` follows.
template <unsigned WORD, unsigned UNIT>
inline ap_uint<8 * WORD> taken(const ap_uint<512> &low, const ap_uint<512> &high, unsigned at) {
#pragma HLS INLINE
    ap_uint<8 * WORD> word = low.range(8 * WORD - 1, 0);
    for (unsigned n = 1; n < 64 / UNIT; n++) {
#pragma HLS UNROLL
        const unsigned from = 8 * UNIT * n;
        const unsigned here = 512 - from < 8 * WORD ? 512 - from : 8 * WORD;
        if (at == n) {
            word.range(here - 1, 0) = low.range(from + here - 1, from);
            if (here < 8 * WORD)
                word.range(8 * WORD - 1, here) = high.range(8 * WORD - here - 1, 0);
        }
    }
    return word;
}

// Units that word `w` of a piece takes: those of a word, of the rest, and in a row's last piece of the padding.
template <unsigned PIECE, unsigned PAD, unsigned UNIT> inline unsigned units_of(unsigned w, bool ends_row) {
#pragma HLS INLINE
    const unsigned words = (PIECE + 63) / 64;
    const unsigned rest = PIECE - 64 * (words - 1);
    const unsigned padded = rest + PAD;
    if (w < words - 1)
        return 64 / UNIT;
    if (!ends_row)
        return w < words ? rest / UNIT : 0;
    if (w < words)
        return (padded < 64 ? padded : 64) / UNIT;
    return (padded < 64 ? 0 : padded - 64) / UNIT;
}

// Beats to words. A step takes at most one beat: what a word lacks is in the next one.
template <unsigned PIECE, unsigned PIECES, unsigned PAD, unsigned UNIT, unsigned WORD>
void cut_rows(hls::stream<ap_uint<512> > &x, hls::stream<ap_uint<8 * WORD> > &y, unsigned rows) {
    const unsigned words = (PIECE + 63) / 64;
    const unsigned steps = (PIECE + PAD + 63) / 64;
    const unsigned units = 64 / UNIT;
    ap_uint<512> held = 0;
    unsigned at = 0; // units of `held` that are taken
    bool holds = false;
    for (unsigned r = 0; r < rows; r++) {
        for (unsigned p = 0; p < PIECES; p++) {
            for (unsigned w = 0; w < steps; w++) {
#pragma HLS PIPELINE II=1
                const unsigned end = at + units_of<PIECE, PAD, UNIT>(w, p == PIECES - 1);
                const bool crosses = end > units;
                ap_uint<512> next = 0;
                if (end > at && (!holds || crosses))
                    next = x.read();
                const ap_uint<512> low = holds ? held : next;
                if (w < words)
                    y.write(taken<WORD, UNIT>(low, next, at));
                held = crosses ? next : low;
                holds = end > at ? end != units : holds;
                at = end < units ? end : end - units;
            }
        }
    }
}

// Words to beats of the network.
template <class T, unsigned CHANNELS, unsigned BYTES, unsigned PIECES, unsigned WORD>
void unpack_rows(hls::stream<ap_uint<8 * WORD> > &x, hls::stream<beat<T, CHANNELS> > &y, unsigned rows) {
    const unsigned words = (CHANNELS * BYTES + 63) / 64;
    ap_uint<8 * WORD> piece[words];
#pragma HLS ARRAY_PARTITION variable=piece type=complete
    for (unsigned r = 0; r < rows; r++) {
        for (unsigned p = 0; p < PIECES; p++) {
            for (unsigned w = 0; w < words; w++) {
#pragma HLS PIPELINE II=1
                piece[w] = x.read();
                if (w == words - 1) {
                    beat<T, CHANNELS> to;
                    for (unsigned c = 0; c < CHANNELS; c++) {
#pragma HLS UNROLL
                        const unsigned bit = 8 * (c * BYTES % 64);
                        const ap_uint<T::width> code = piece[c * BYTES / 64].range(bit + T::width - 1, bit);
                        to.v[c] = from_code<T>(code);
                    }
                    y.write(to);
                }
            }
        }
    }
}

// The code of `value` as an element of BYTES bytes.
template <class T, unsigned BYTES, bool SIGNED> inline ap_uint<8 * BYTES> element(const T &value) {
#pragma HLS INLINE
    const ap_uint<T::width> code = value.range(T::width - 1, 0);
    ap_uint<8 * BYTES> wide = code;
    if (SIGNED && code[T::width - 1] && T::width < 8 * BYTES)
        wide |= ap_uint<8 * BYTES>(-1) << (T::width % (8 * BYTES));
    return wide;
}

// Beats of the network to words.
template <class T, unsigned CHANNELS, unsigned BYTES, bool SIGNED, unsigned PIECES, unsigned WORD>
void pack_rows(hls::stream<beat<T, CHANNELS> > &x, hls::stream<ap_uint<8 * WORD> > &y, unsigned rows) {
    const unsigned words = (CHANNELS * BYTES + 63) / 64;
    ap_uint<8 * WORD> piece[words];
#pragma HLS ARRAY_PARTITION variable=piece type=complete
    for (unsigned r = 0; r < rows; r++) {
        for (unsigned p = 0; p < PIECES; p++) {
            for (unsigned w = 0; w < words; w++) {
#pragma HLS PIPELINE II=1
                if (w == 0) {
                    const beat<T, CHANNELS> from = x.read();
                    piece[words - 1] = 0;
                    for (unsigned c = 0; c < CHANNELS; c++) {
#pragma HLS UNROLL
                        const unsigned bit = 8 * (c * BYTES % 64);
                        piece[c * BYTES / 64].range(bit + 8 * BYTES - 1, bit) = element<T, BYTES, SIGNED>(from.v[c]);
                    }
                }
                y.write(piece[w]);
            }
        }
    }
}

// Words to beats; the last one is filled up with zeros.
template <unsigned PIECE, unsigned PIECES, unsigned PAD, unsigned UNIT, unsigned WORD>
void join_rows(hls::stream<ap_uint<8 * WORD> > &x, hls::stream<ap_uint<512> > &y, unsigned rows) {
    const unsigned words = (PIECE + 63) / 64;
    const unsigned steps = (PIECE + PAD + 63) / 64;
    const unsigned units = 64 / UNIT;
    ap_uint<512> held = 0;
    unsigned at = 0; // units of `held` that are filled; those behind are zero
    for (unsigned r = 0; r < rows; r++) {
        for (unsigned p = 0; p < PIECES; p++) {
            for (unsigned w = 0; w < steps; w++) {
#pragma HLS PIPELINE II=1
                const unsigned end = at + units_of<PIECE, PAD, UNIT>(w, p == PIECES - 1);
                ap_uint<8 * WORD> word = 0;
                if (w < words)
                    word = x.read();
                ap_uint<512> low = at == 0 ? ap_uint<512>(word) : held;
                ap_uint<512> high = 0;
                for (unsigned n = 1; n < units; n++) {
#pragma HLS UNROLL
                    const unsigned from = 8 * UNIT * n;
                    const unsigned here = 512 - from < 8 * WORD ? 512 - from : 8 * WORD;
                    if (at == n) {
                        low.range(from + here - 1, from) = word.range(here - 1, 0);
                        if (here < 8 * WORD)
                            high.range(8 * WORD - here - 1, 0) = word.range(8 * WORD - 1, here);
                    }
                }
                if (end >= units)
                    y.write(low);
                held = end >= units ? high : low;
                at = end < units ? end : end - units;
            }
        }
    }
    if (at != 0)
        y.write(held);
}

// One row of N elements, as an array.
template <class T, unsigned N, unsigned BYTES, unsigned WORD>
void read_row(hls::stream<ap_uint<8 * WORD> > &x, T v[N]) {
    const unsigned words = (N * BYTES + 63) / 64;
    for (unsigned w = 0; w < words; w++) {
#pragma HLS PIPELINE II=1
        const ap_uint<8 * WORD> word = x.read();
        for (unsigned i = 0; i < WORD / BYTES; i++) {
#pragma HLS UNROLL
            const unsigned e = w * (WORD / BYTES) + i;
            const ap_uint<T::width> code = word.range(8 * BYTES * i + T::width - 1, 8 * BYTES * i);
            if (e < N)
                v[e] = from_code<T>(code);
        }
    }
}

template <class T, unsigned N, unsigned BYTES, bool SIGNED, unsigned WORD>
void write_row(const T v[N], hls::stream<ap_uint<8 * WORD> > &y) {
    const unsigned words = (N * BYTES + 63) / 64;
    for (unsigned w = 0; w < words; w++) {
#pragma HLS PIPELINE II=1
        ap_uint<8 * WORD> word = 0;
        for (unsigned i = 0; i < WORD / BYTES; i++) {
#pragma HLS UNROLL
            const unsigned e = w * (WORD / BYTES) + i;
            if (e < N)
                word.range(8 * BYTES * i + 8 * BYTES - 1, 8 * BYTES * i) = element<T, BYTES, SIGNED>(v[e]);
        }
        y.write(word);
    }
}

} // namespace hypersonic

#endif
