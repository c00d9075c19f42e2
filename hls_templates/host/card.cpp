// The card side of libhypersonic.so for @MODEL@: `make` builds lib@TOP@_card.so from it, and
// hypersonic_open(package, "card:DEVICE,FILE.xclbin", ...) loads that. Nothing thrown leaves a function.
#include "@TOP@_xrt.hpp"

namespace {

/// Puts a message into a buffer of the caller's, cut off where it does not fit.
int fail(char *error, std::size_t bytes, const char *what) {
    if (bytes != 0) {
        const std::size_t length = std::min(std::strlen(what), bytes - 1);
        std::memcpy(error, what, length);
        error[length] = '\0';
    }
    return 1;
}

template <class F> int guarded(char *error, std::size_t bytes, F &&body) {
    try {
        body();
        return 0;
    } catch (const std::exception &e) {
        return fail(error, bytes, e.what());
    } catch (...) {
        return fail(error, bytes, "an exception of an unknown type");
    }
}

} // namespace

using hypersonic::@TOP@::Card;

extern "C" {

/// Version of these functions.
unsigned hypersonic_card_version() { return 1; }

/// Fingerprint of the model that this library was built for: 64 hexadecimal digits.
const char *hypersonic_card_fingerprint() { return hypersonic::@TOP@::fingerprint_text.data(); }

/// Opens a card; 0, or 1 and a message.
int hypersonic_card_open(const char *package, const char *device, const char *xclbin, void **card, char *error,
                         std::size_t error_bytes) {
    return guarded(error, error_bytes, [&] { *card = new Card(Card::open(device, xclbin, package)); });
}

/// Runs packed rows: buffers of row_bytes() bytes in, of output_bytes() out.
int hypersonic_card_run(void *card, std::size_t rows, const std::uint8_t *const *inputs, std::uint8_t *const *outputs,
                        char *error, std::size_t error_bytes) {
    return guarded(error, error_bytes, [&] { static_cast<Card *>(card)->infer_packed(inputs, outputs, rows); });
}

void hypersonic_card_close(void *card) { delete static_cast<Card *>(card); }
}
