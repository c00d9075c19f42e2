// ap_shift_reg for simulation without a vendor tool. Never part of synthesis.
#ifndef HYPERSONIC_SIM_AP_SHIFT_REG_H
#define HYPERSONIC_SIM_AP_SHIFT_REG_H

#ifdef __SYNTHESIS__
#error "tb/sim is for simulation only: synthesis must find the vendor's ap_shift_reg.h"
#endif

// Address 0 is the newest value.
template <class T, unsigned Depth = 32> class ap_shift_reg {
public:
    ap_shift_reg() : newest_(0) {
        for (unsigned i = 0; i < Depth; i++)
            ring_[i] = T(0);
    }

    // The value at `address`; then, when enabled, `value` becomes the newest.
    T shift(const T &value, unsigned address = Depth - 1, bool enable = true) {
        T found = read(address);
        if (enable) {
            newest_ = newest_ + 1 == Depth ? 0 : newest_ + 1;
            ring_[newest_] = value;
        }
        return found;
    }

    T read(unsigned address = Depth - 1) const {
        return ring_[newest_ >= address ? newest_ - address : newest_ + Depth - address];
    }

private:
    T ring_[Depth];
    unsigned newest_;
};

#endif
