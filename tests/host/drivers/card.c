/* A card's library that needs no card: it hands rows on, and does wrong what FAULT says. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#ifndef FAULT
#define FAULT 0
#endif
/* 1: another version, 2: another model, 3: does not open, 4: fails, 5: leaves no trailer */
static const uint8_t fingerprint[16] = {FINGERPRINT_BYTES};

unsigned hypersonic_card_version(void) { return FAULT == 1 ? 2 : 1; }
const char *hypersonic_card_fingerprint(void) { return FAULT == 2 ? "0123" : FINGERPRINT; }

int hypersonic_card_open(const char *package, const char *device, const char *xclbin, void **card, char *error,
                         size_t bytes) {
    static int opened;
    *card = &opened;
    snprintf(error, bytes, "cannot open %s with %s of %s", device, xclbin, package);
    return FAULT == 3;
}

int hypersonic_card_run(void *card, size_t rows, const uint8_t *const *inputs, uint8_t *const *outputs, char *error,
                        size_t bytes) {
    const size_t size = (rows * 12 + 63) / 64 * 64;
    (void)card;
    snprintf(error, bytes, "the fan stands still");
    memcpy(outputs[0], inputs[0], size);
    memset(outputs[0] + size, 0, 64);
    memcpy(outputs[0] + size, FAULT == 5 ? "nothing!" : "hypersnc", 8);
    outputs[0][size + 8] = 1;
    memcpy(outputs[0] + size + 12, &(uint32_t){(uint32_t)rows}, 4);
    memcpy(outputs[0] + size + 16, fingerprint, 16);
    return FAULT == 4;
}

void hypersonic_card_close(void *card) { (void)card; }
