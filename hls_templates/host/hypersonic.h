/* Models compiled by Hypersonic, from C: libhypersonic.so. The same header serves every package.
 *
 *     hypersonic_model *model;
 *     if (hypersonic_open("package", "emulator", &model) != HYPERSONIC_OK)
 *         fprintf(stderr, "%s\n", hypersonic_error());
 *
 * Functions that return hypersonic_status leave a message for hypersonic_error() when it is not HYPERSONIC_OK. A null
 * pointer is an error, never a crash, except to no values at all. Outputs must not overlap with anything. A model may be
 * used by several threads at a time; close it when none does. */
#ifndef HYPERSONIC_H
#define HYPERSONIC_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Version of this interface: functions are added, never changed, within one. */
#define HYPERSONIC_API 1

typedef enum hypersonic_status {
    HYPERSONIC_OK = 0,
    /* An argument is wrong: a null pointer, an unknown name, a length that does not fit, NaN. */
    HYPERSONIC_ARGUMENT = 1,
    /* The package cannot be read or is damaged. */
    HYPERSONIC_PACKAGE = 2,
    /* The device cannot be opened; the message says what is missing. */
    HYPERSONIC_DEVICE = 3,
    /* The device failed, or its results are not this model's. */
    HYPERSONIC_RUN = 4,
    /* A bug of Hypersonic. */
    HYPERSONIC_INTERNAL = 5
} hypersonic_status;

/* An open model. */
typedef struct hypersonic_model hypersonic_model;

/* An input or output. What it points to lives as long as the model. */
typedef struct hypersonic_tensor {
    /* ONNX name, UTF-8. */
    const char *name;
    /* Type of its codes, as "fixed<16,6,RND,SAT>". */
    const char *type;
    /* ONNX shape, without the batch axis, and number of its axes. */
    const size_t *shape;
    size_t rank;
    /* Axis i of a packed row is ONNX axis perm[i]. */
    const size_t *perm;
    /* Elements of a row. */
    size_t elements;
    /* Bytes of a packed element, and from one packed row to the next. */
    size_t element_bytes;
    size_t stride;
} hypersonic_tensor;

/* A tensor's values: rows in ONNX order, `elements` floats in all. */
typedef struct hypersonic_values {
    float *data;
    size_t elements;
} hypersonic_values;

/* As above, to read from. */
typedef struct hypersonic_const_values {
    const float *data;
    size_t elements;
} hypersonic_const_values;

/* Packed rows: see hypersonic_packed_bytes. */
typedef struct hypersonic_bytes {
    uint8_t *data;
    size_t bytes;
} hypersonic_bytes;

/* As above, to read from. */
typedef struct hypersonic_const_bytes {
    const uint8_t *data;
    size_t bytes;
} hypersonic_const_bytes;

/* Version of the library, as "0.1.0", and of this interface as the library has it. */
const char *hypersonic_version(void);
unsigned hypersonic_api(void);

/* What went wrong in the last call of this thread that failed; "" before the first. Valid until the next call. */
const char *hypersonic_error(void);

/* Opens the package in a directory that `hypersonic compile` wrote, on a device:
 *   "emulator"               this process, bit for bit as the card
 *   "card:0,path.xclbin"     a card by index or PCIe address (card:0000:3b:00.1,path.xclbin), through the library that
 *                            `make -C PACKAGE/host` builds */
hypersonic_status hypersonic_open(const char *package, const char *device, hypersonic_model **model);

/* Closes a model; null is no error. */
void hypersonic_close(hypersonic_model *model);

/* Number of inputs and outputs; 0 for null. */
size_t hypersonic_inputs(const hypersonic_model *model);
size_t hypersonic_outputs(const hypersonic_model *model);

/* The input or output of an index, in model order. */
hypersonic_status hypersonic_input(const hypersonic_model *model, size_t index, hypersonic_tensor *tensor);
hypersonic_status hypersonic_output(const hypersonic_model *model, size_t index, hypersonic_tensor *tensor);

/* The index of an input or output by its ONNX name. */
hypersonic_status hypersonic_find_input(const hypersonic_model *model, const char *name, size_t *index);
hypersonic_status hypersonic_find_output(const hypersonic_model *model, const char *name, size_t *index);

/* Runs `rows` rows, any number: an entry a model input and output, in model order, of rows * elements floats each. */
hypersonic_status hypersonic_run(hypersonic_model *model, size_t rows, const hypersonic_const_values *inputs,
                                 size_t input_count, const hypersonic_values *outputs, size_t output_count);

/* Bytes of `rows` packed rows of a tensor, filled up with zeros to 64; 0 for null and where it is beyond size_t. An
 * output's buffer has 64 bytes more, the trailer, which has been checked when a run returns. */
size_t hypersonic_packed_bytes(const hypersonic_tensor *tensor, size_t rows);

/* As hypersonic_run, on packed rows: codes in hardware order, as the kernel takes and gives them. */
hypersonic_status hypersonic_run_packed(hypersonic_model *model, size_t rows, const hypersonic_const_bytes *inputs,
                                        size_t input_count, const hypersonic_bytes *outputs, size_t output_count);

#ifdef __cplusplus
}
#endif

#endif
