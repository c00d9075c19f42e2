/* Runs a package from C, on any device, with rows from files:
 *   ./example_c PACKAGE DEVICE ROWS IN... OUT...
 * DEVICE is "emulator" or "card:0,FILE.xclbin"; a file holds the rows of one input or output, in model order, as
 * 32-bit floats. Without files it lists the model's tensors. */
#include <stdio.h>
#include <stdlib.h>

#include "hypersonic.h"

static int failed(void) {
    fprintf(stderr, "%s\n", hypersonic_error());
    return 1;
}

static void print(const char *what, const hypersonic_tensor *t) {
    printf("%s %s: %s [rows", what, t->name, t->type);
    for (size_t i = 0; i < t->rank; i++)
        printf(", %zu", t->shape[i]);
    printf("], %zu bytes a packed row\n", t->stride);
}

static float *read_floats(const char *path, size_t n) {
    float *values = calloc(n + 1, sizeof *values);
    FILE *file = fopen(path, "rb");
    /* One more than there should be, to notice a longer file. */
    if (values == NULL || file == NULL || fread(values, sizeof *values, n + 1, file) != n) {
        fprintf(stderr, "%s does not hold %zu floats\n", path, n);
        exit(1);
    }
    fclose(file);
    return values;
}

int main(int argc, char **argv) {
    hypersonic_model *model = NULL;
    if (argc < 3) {
        fprintf(stderr, "usage: %s PACKAGE DEVICE [ROWS IN... OUT...]\n", argv[0]);
        return 2;
    }
    if (hypersonic_open(argv[1], argv[2], &model) != HYPERSONIC_OK)
        return failed();
    const size_t inputs = hypersonic_inputs(model), outputs = hypersonic_outputs(model);
    const size_t rows = argc > 3 ? strtoul(argv[3], NULL, 10) : 0;
    if (argc > 3 && (size_t)argc != 4 + inputs + outputs) {
        fprintf(stderr, "the model has %zu inputs and %zu outputs; name a file for each\n", inputs, outputs);
        return 2;
    }
    hypersonic_const_values *x = calloc(inputs, sizeof *x);
    hypersonic_values *y = calloc(outputs, sizeof *y);
    float **owned = calloc(inputs, sizeof *owned);
    if (x == NULL || y == NULL || owned == NULL)
        return 1;
    hypersonic_tensor tensor;
    for (size_t i = 0; i < inputs; i++) {
        if (hypersonic_input(model, i, &tensor) != HYPERSONIC_OK)
            return failed();
        if (argc <= 3) {
            print("input", &tensor);
            continue;
        }
        x[i].elements = rows * tensor.elements;
        x[i].data = owned[i] = read_floats(argv[4 + i], x[i].elements);
    }
    for (size_t i = 0; i < outputs; i++) {
        if (hypersonic_output(model, i, &tensor) != HYPERSONIC_OK)
            return failed();
        if (argc <= 3) {
            print("output", &tensor);
            continue;
        }
        y[i].elements = rows * tensor.elements;
        y[i].data = calloc(y[i].elements + 1, sizeof *y[i].data);
        if (y[i].data == NULL)
            return 1;
    }
    if (argc > 3 && hypersonic_run(model, rows, x, inputs, y, outputs) != HYPERSONIC_OK)
        return failed();
    for (size_t i = 0; argc > 3 && i < outputs; i++) {
        FILE *file = fopen(argv[4 + inputs + i], "wb");
        if (file == NULL || fwrite(y[i].data, sizeof *y[i].data, y[i].elements, file) != y[i].elements ||
            fclose(file) != 0) {
            fprintf(stderr, "cannot write %s\n", argv[4 + inputs + i]);
            return 1;
        }
        free(y[i].data);
    }
    for (size_t i = 0; i < inputs; i++)
        free(owned[i]);
    free(owned);
    free(x);
    free(y);
    hypersonic_close(model);
    return 0;
}
