// Functions of one variable as tables of codes.
#ifndef HYPERSONIC_TABLE_H
#define HYPERSONIC_TABLE_H

#include "types.h"

namespace hypersonic {

// C: x_t, code_t (ap_int or ap_uint of x_t's width), wide_t (an ap_int that holds every intermediate), mul(),
// offset(), up and down (bits the index is shifted by), toward_zero, last, entry(i).
template <class C> struct table {
    // Entry at round(code * mul / 2^down) + offset, clamped.
    static typename C::entry_t nearest(const typename C::x_t &x) {
#pragma HLS INLINE
        typename C::wide_t at = to_code<typename C::code_t>(x);
        at = at * C::mul();
        at = at << C::up;
        if (C::toward_zero && at < 0)
            at = at + C::below_one();
        at = at >> C::down;
        at = at + C::offset();
        return C::entry(clamped(at, C::last));
    }

    // Linear between entries, by the dropped bits of the index; `last` is the end of the last segment.
    static typename C::exact_t between(const typename C::x_t &x) {
#pragma HLS INLINE
        typename C::wide_t fine = to_code<typename C::code_t>(x);
        fine = fine * C::mul();
        fine = fine + C::offset_fine();
        if (fine < 0)
            fine = 0;
        if (fine > C::end_fine())
            fine = C::end_fine();
        const typename C::wide_t whole = fine >> C::down;
        const unsigned i = clamped(whole, C::last - 1);
        // Wide enough for the whole last segment, its end included.
        ap_uint<C::down + 1> within = fine - (typename C::wide_t(i) << C::down);
        const typename C::within_t w = from_code<typename C::within_t>(within);
        const typename C::entry_t a = C::entry(i);
        const typename C::entry_t b = C::entry(i + 1);
        return typename C::exact_t(a + (b - a) * w);
    }

private:
    static unsigned clamped(const typename C::wide_t &at, unsigned last) {
#pragma HLS INLINE
        if (at < 0)
            return 0;
        if (at > last)
            return last;
        return at.to_uint();
    }
};

} // namespace hypersonic

#endif
