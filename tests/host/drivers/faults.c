/* Calls of libhypersonic.so that must be refused, on a package of one input "x" and one output "y", two rows. */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hypersonic.h"

static int failures = 0;

static void expect(int line, unsigned found, unsigned status, const char *part) {
    if (found == status && strstr(hypersonic_error(), part) != NULL)
        return;
    fprintf(stderr, "line %d: status %u, expected %u; '%s', expected '%s'\n", line, found, status, hypersonic_error(), part);
    failures++;
}
#define REFUSED(call, status, part) expect(__LINE__, (call), (status), (part))
#define CHECK(what) ((what) ? (void)0 : (void)(failures++, fprintf(stderr, "line %d: %s\n", __LINE__, #what)))

static void *other_thread(void *unused) {
    (void)unused;
    return strdup(hypersonic_error());
}

int main(int argc, char **argv) {
    hypersonic_model *m = NULL, *none = NULL;
    const char *package = argv[argc - 1];
    CHECK(hypersonic_api() == HYPERSONIC_API && strlen(hypersonic_version()) > 2);
    CHECK(strcmp(hypersonic_error(), "") == 0);
    REFUSED(hypersonic_open(NULL, "emulator", &m), HYPERSONIC_ARGUMENT, "'package' is null");
    REFUSED(hypersonic_open(package, NULL, &m), HYPERSONIC_ARGUMENT, "'device' is null");
    REFUSED(hypersonic_open(package, "emulator", NULL), HYPERSONIC_ARGUMENT, "'model' is null");
    REFUSED(hypersonic_open(package, "gpu", &m), HYPERSONIC_ARGUMENT, "'gpu' is no device; expected 'emulator'");
    REFUSED(hypersonic_open(package, "card:0", &m), HYPERSONIC_ARGUMENT, "'card:0' is no device");
    REFUSED(hypersonic_open(package, "card:,x", &m), HYPERSONIC_ARGUMENT, "'card:,x' is no device");
    REFUSED(hypersonic_open(package, "\xff", &m), HYPERSONIC_ARGUMENT, "no UTF-8");
    REFUSED(hypersonic_open("/nowhere", "emulator", &m), HYPERSONIC_PACKAGE, "/nowhere");
    REFUSED(hypersonic_open(package, "card:0,no.xclbin", &m), HYPERSONIC_DEVICE, "there is no xclbin 'no.xclbin'");
    REFUSED(hypersonic_open(package, "card:0,driver.c", &m), HYPERSONIC_DEVICE, "build it where XRT is installed: make -C");
    CHECK(m == NULL);

    pthread_t thread;
    void *message = NULL;
    CHECK(pthread_create(&thread, NULL, other_thread, NULL) == 0 && pthread_join(thread, &message) == 0);
    CHECK(strcmp(message, "") == 0);
    free(message);

    if (hypersonic_open(package, "emulator", &m) != HYPERSONIC_OK) {
        fprintf(stderr, "%s\n", hypersonic_error());
        return 1;
    }
    CHECK(hypersonic_inputs(m) == 1 && hypersonic_outputs(m) == 1);
    CHECK(hypersonic_inputs(NULL) == 0 && hypersonic_outputs(NULL) == 0);
    hypersonic_tensor x, y;
    size_t index = 99;
    CHECK(hypersonic_input(m, 0, &x) == HYPERSONIC_OK && hypersonic_output(m, 0, &y) == HYPERSONIC_OK);
    CHECK(strcmp(x.name, "x") == 0 && x.rank == 2 && x.shape[0] == 3 && x.shape[1] == 2 && x.perm[0] == 1);
    CHECK(strcmp(x.type, "fixed<12,4,RND,SAT>") == 0 && x.elements == 6 && x.element_bytes == 2 && x.stride == 12);
    CHECK(hypersonic_find_input(m, "x", &index) == HYPERSONIC_OK && index == 0);
    CHECK(hypersonic_packed_bytes(&x, 6) == 128 && hypersonic_packed_bytes(&x, 0) == 0);
    CHECK(hypersonic_packed_bytes(NULL, 6) == 0 && hypersonic_packed_bytes(&x, (size_t)-1) == 0);
    REFUSED(hypersonic_input(NULL, 0, &x), HYPERSONIC_ARGUMENT, "'model' is null");
    REFUSED(hypersonic_input(m, 1, &x), HYPERSONIC_ARGUMENT, "there is no input 1; the model has 1");
    REFUSED(hypersonic_output(m, 0, NULL), HYPERSONIC_ARGUMENT, "'tensor' is null");
    REFUSED(hypersonic_find_input(m, "z", &index), HYPERSONIC_ARGUMENT, "no input 'z'; it has x");
    REFUSED(hypersonic_find_output(m, "x", &index), HYPERSONIC_ARGUMENT, "no output 'x'; it has y");
    REFUSED(hypersonic_find_output(m, NULL, &index), HYPERSONIC_ARGUMENT, "'name' is null");
    REFUSED(hypersonic_find_output(m, "y", NULL), HYPERSONIC_ARGUMENT, "'index' is null");

    float in[13] = {0.5f, 1, -2, 100, -100, 0.001f, 1, 2, 3, 4, 5, 6, 0}, out[12] = {0};
    hypersonic_const_values from = {in, 12};
    hypersonic_values to = {out, 12};
    CHECK(hypersonic_run(m, 2, &from, 1, &to, 1) == HYPERSONIC_OK);
    const float expected[12] = {0.5f, 1, -2, 2047.0f / 256, -8, 0, 1, 2, 3, 4, 5, 6};
    CHECK(memcmp(out, expected, sizeof out) == 0);
    REFUSED(hypersonic_run(none, 2, &from, 1, &to, 1), HYPERSONIC_ARGUMENT, "'model' is null");
    REFUSED(hypersonic_run(m, 2, NULL, 1, &to, 1), HYPERSONIC_ARGUMENT, "'inputs' is null");
    REFUSED(hypersonic_run(m, 2, &from, 1, NULL, 1), HYPERSONIC_ARGUMENT, "'outputs' is null");
    REFUSED(hypersonic_run(m, 2, &from, 0, &to, 1), HYPERSONIC_ARGUMENT, "0 inputs, but the model has 1: x");
    REFUSED(hypersonic_run(m, 2, &from, 1, &to, 0), HYPERSONIC_ARGUMENT, "0 outputs, but the model has 1: y");
    REFUSED(hypersonic_run(m, 3, &from, 1, &to, 1), HYPERSONIC_ARGUMENT, "'x' has 12 values; 3 rows have 18");
    REFUSED(hypersonic_run(m, (size_t)-1, &from, 1, &to, 1), HYPERSONIC_ARGUMENT, "more than memory can hold");
    to.elements = 11;
    REFUSED(hypersonic_run(m, 2, &from, 1, &to, 1), HYPERSONIC_ARGUMENT, "'y' has 11 values; 2 rows have 12");
    to.elements = 12;
    from.data = NULL;
    REFUSED(hypersonic_run(m, 2, &from, 1, &to, 1), HYPERSONIC_ARGUMENT, "'inputs[].data' is null");
    from.data = (const float *)((const char *)in + 1);
    REFUSED(hypersonic_run(m, 2, &from, 1, &to, 1), HYPERSONIC_ARGUMENT, "not aligned");
    from.data = in;
    in[9] = NAN;
    REFUSED(hypersonic_run(m, 2, &from, 1, &to, 1), HYPERSONIC_ARGUMENT, "row 1, element 3 is NaN");

    from.data = NULL;
    to.data = NULL;
    from.elements = to.elements = 0;
    CHECK(hypersonic_run(m, 0, &from, 1, &to, 1) == HYPERSONIC_OK);

    uint8_t packed[64] = {0x80, 0x00, 0xff, 0xff}, results[128];
    memset(results, 0xee, sizeof results);
    hypersonic_const_bytes pf = {packed, 64};
    hypersonic_bytes pt = {results, 128};
    CHECK(hypersonic_run_packed(m, 2, &pf, 1, &pt, 1) == HYPERSONIC_OK);
    CHECK(memcmp(results, packed, 64) == 0 && memcmp(results + 64, "hypersnc\1\0\0\0\2\0\0\0", 16) == 0);
    pf.bytes = 63;
    REFUSED(hypersonic_run_packed(m, 2, &pf, 1, &pt, 1), HYPERSONIC_ARGUMENT, "'x' has 63 bytes; 2 rows have 64");
    pf.bytes = 64;
    pt.bytes = 64;
    REFUSED(hypersonic_run_packed(m, 2, &pf, 1, &pt, 1), HYPERSONIC_ARGUMENT, "'y' has 64 bytes; 2 rows have 128");
    pt.bytes = 128;
    packed[1] = 0x70;
    REFUSED(hypersonic_run_packed(m, 2, &pf, 1, &pt, 1), HYPERSONIC_ARGUMENT, "no code of fixed<12,4,RND,SAT>");
    hypersonic_close(m);
    hypersonic_close(NULL);
    return failures != 0;
}
