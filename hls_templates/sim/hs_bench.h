// Files of the test bench: little-endian 64-bit codes, row after row.
#ifndef HYPERSONIC_SIM_BENCH_H
#define HYPERSONIC_SIM_BENCH_H

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "ap_fixed.h"
#include "ap_int.h"

namespace hypersonic_bench {

enum { usage_exit = 64, file_exit = 65, leftover_exit = 67 };

inline void file_error(const std::string &path, const char *what) {
    fprintf(stderr, "%s: %s\n", path.c_str(), what);
    exit(file_exit);
}

inline std::vector<unsigned char> slurp(const std::string &path) {
    FILE *f = fopen(path.c_str(), "rb");
    if (f == NULL)
        file_error(path, strerror(errno));
    std::vector<unsigned char> data;
    unsigned char part[1 << 16];
    for (size_t got; (got = fread(part, 1, sizeof part, f)) > 0;)
        data.insert(data.end(), part, part + got);
    if (ferror(f))
        file_error(path, strerror(errno));
    fclose(f);
    return data;
}

inline std::vector<unsigned char> slurp(const std::string &path, size_t bytes) {
    const std::vector<unsigned char> data = slurp(path);
    if (data.size() != bytes)
        file_error(path, "has not the expected length");
    return data;
}

inline long long little_endian(const unsigned char *at, unsigned bytes) {
    unsigned long long value = 0;
    for (unsigned i = 0; i < bytes; i++)
        value |= (unsigned long long)at[i] << (8 * i);
    if (bytes < 8 && (at[bytes - 1] & 0x80) != 0)
        value |= ~0ULL << (8 * bytes);
    return (long long)value;
}

// A model input.
class source {
public:
    source(const std::string &path, size_t rows, size_t elements)
        : data_(slurp(path, rows * elements * 8)), next_(0) {}
    template <class T> void take(T &value) {
        value.setBits((unsigned long long)little_endian(&data_[next_], 8));
        next_ += 8;
    }

private:
    std::vector<unsigned char> data_;
    size_t next_;
};

// A model output, of codes of `width` bits.
class sink {
public:
    sink(const std::string &path, unsigned width, bool is_signed)
        : path_(path), file_(fopen(path.c_str(), "wb")), unused_(64 - width), signed_(is_signed) {
        if (file_ == NULL)
            file_error(path_, strerror(errno));
    }
    ~sink() {
        if (fclose(file_) != 0)
            file_error(path_, strerror(errno));
    }
    template <class T> void put(const T &value) { put_bits(value.bits_to_uint64()); }

private:
    sink(const sink &);
    sink &operator=(const sink &);

    void put_bits(unsigned long long bits) {
        bits <<= unused_;
        bits = signed_ ? (unsigned long long)((long long)bits >> unused_) : bits >> unused_;
        unsigned char bytes[8];
        for (unsigned i = 0; i < 8; i++)
            bytes[i] = (unsigned char)(bits >> (8 * i));
        if (fwrite(bytes, 1, 8, file_) != 8)
            file_error(path_, strerror(errno));
    }

    std::string path_;
    FILE *file_;
    unsigned unused_;
    bool signed_;
};

// The elements of a tensor.
template <class T> class tensor {
public:
    explicit tensor(size_t n) : data(new T[n]) {}
    ~tensor() { delete[] data; }
    T *const data;

private:
    tensor(const tensor &);
    tensor &operator=(const tensor &);
};

// Weights that are loaded instead of compiled in: words of `codes` integers of `bytes` bytes, `stride` bytes from one to
// the next, the first at `first`.
template <class K>
std::vector<K> weights(const std::string &path, size_t first, size_t words, size_t codes, unsigned bytes, size_t stride) {
    const std::vector<unsigned char> data = slurp(path);
    if (data.size() < first + words * stride)
        file_error(path, "has not the expected length");
    std::vector<K> all(words * codes);
    for (size_t w = 0; w < words; w++)
        for (size_t i = 0; i < codes; i++)
            all[w * codes + i] = K(little_endian(&data[first + w * stride + i * bytes], bytes));
    return all;
}

// Ends the run when a design left beats behind.
template <class Stream> void used_up(const Stream &s) {
    if (!s.empty()) {
        fprintf(stderr, "beats are left in a stream of the top function\n");
        exit(leftover_exit);
    }
}

// Rows done so far, for whoever runs the bench.
inline void progress(size_t done) {
    printf("rows %lu\n", (unsigned long)done);
    fflush(stdout);
}

// One model of the bench; `run` reads `inputs` files and writes `outputs` files.
struct model {
    const char *name;
    unsigned inputs;
    unsigned outputs;
    void (*run)(size_t rows, const std::string &weights, const char *const *files);
};

// csim MODEL ROWS WEIGHTS INPUT... OUTPUT...
inline int main_of(const model *models, size_t count, int argc, const char *const *argv) {
    for (size_t i = 0; argc >= 4 && i < count; i++) {
        const model &m = models[i];
        if (strcmp(m.name, argv[1]) != 0)
            continue;
        if (argc != int(4 + m.inputs + m.outputs))
            break;
        m.run(size_t(strtoull(argv[2], NULL, 10)), argv[3], argv + 4);
        return 0;
    }
    fprintf(stderr, "usage: csim MODEL ROWS WEIGHTS INPUT... OUTPUT...\n");
    for (size_t i = 0; i < count; i++)
        fprintf(stderr, "  model %s: %u inputs, %u outputs\n", models[i].name, models[i].inputs, models[i].outputs);
    return usage_exit;
}

} // namespace hypersonic_bench

#endif
