// The test bench of a kernel: memories of packed rows, read from and written to files.
#ifndef HYPERSONIC_SIM_BENCH_H
#define HYPERSONIC_SIM_BENCH_H

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "ap_int.h"

namespace hypersonic_bench {

enum { differs_exit = 1, usage_exit = 64, file_exit = 65 };

// A pointer argument of a kernel: its rows.
struct port {
    const char *name;
    unsigned elements;
    unsigned bytes; // of an element
    bool is_signed;
};

// A kernel; inputs stand before outputs.
struct model {
    const char *name;
    const char *fingerprint;
    unsigned inputs;
    unsigned outputs;
    const port *ports;
    size_t weight_beats;
    unsigned data_rows; // of the project's own data
    void (*run)(ap_uint<512> *const *memory, const ap_uint<512> *weights, unsigned rows);
};

inline void file_error(const std::string &path, const char *what) {
    fprintf(stderr, "%s: %s\n", path.c_str(), what);
    exit(file_exit);
}

inline std::vector<unsigned char> slurp(const std::string &path) {
    FILE *f = fopen(path.c_str(), "rb");
    if (f == NULL)
        file_error(path, strerror(errno));
    std::vector<unsigned char> data;
    static unsigned char part[1 << 16];
    for (size_t got; (got = fread(part, 1, sizeof part, f)) > 0;)
        data.insert(data.end(), part, part + got);
    if (ferror(f))
        file_error(path, strerror(errno));
    fclose(f);
    return data;
}

// Beats of 64 bytes, as a kernel sees them.
class memory {
public:
    explicit memory(size_t beats) : beats_(beats == 0 ? 1 : beats), size_(beats) {}

    memory(const std::string &path, size_t beats) : beats_(beats == 0 ? 1 : beats), size_(beats) {
        const std::vector<unsigned char> data = slurp(path);
        if (data.size() != beats * 64)
            file_error(path, "has not the expected length");
        for (size_t i = 0; i < data.size(); i += 8) {
            unsigned long long word = 0;
            for (unsigned k = 0; k < 8; k++)
                word |= (unsigned long long)data[i + k] << (8 * k);
            const unsigned bit = i % 64 * 8;
            beats_[i / 64].range(bit + 63, bit) = word;
        }
    }

    ap_uint<512> *beats() { return &beats_[0]; }

    std::vector<unsigned char> bytes() const {
        std::vector<unsigned char> data(size_ * 64);
        for (size_t i = 0; i < data.size(); i++) {
            const unsigned bit = i % 64 * 8;
            data[i] = (unsigned char)beats_[i / 64].range(bit + 7, bit).to_uint();
        }
        return data;
    }

private:
    std::vector<ap_uint<512> > beats_;
    size_t size_;
};

inline size_t row_beats(const port &p, size_t rows) {
    const size_t stride = ((size_t)p.elements * p.bytes + 3) / 4 * 4;
    return (rows * stride + 63) / 64;
}

// Runs the kernel on files; the result is one vector of bytes an output.
inline std::vector<std::vector<unsigned char> > call(const model &m, unsigned rows, const std::string &weights,
                                                     const std::vector<std::string> &inputs) {
    std::vector<memory> memories;
    for (unsigned k = 0; k < m.inputs; k++)
        memories.push_back(memory(inputs[k], row_beats(m.ports[k], rows)));
    for (unsigned k = m.inputs; k < m.inputs + m.outputs; k++)
        memories.push_back(memory(row_beats(m.ports[k], rows) + 1));
    std::vector<ap_uint<512> *> pointers;
    for (size_t k = 0; k < memories.size(); k++)
        pointers.push_back(memories[k].beats());
    memory words = m.weight_beats == 0 ? memory(0) : memory(weights, m.weight_beats);
    m.run(&pointers[0], words.beats(), rows);
    std::vector<std::vector<unsigned char> > results;
    for (size_t k = m.inputs; k < memories.size(); k++)
        results.push_back(memories[k].bytes());
    return results;
}

// MODEL ROWS WEIGHTS INPUT... OUTPUT...
inline int run_files(const model &m, int argc, const char *const *argv) {
    const std::vector<std::string> files(argv + 4, argv + argc);
    const std::vector<std::vector<unsigned char> > results = call(m, unsigned(strtoul(argv[2], NULL, 10)), argv[3], files);
    for (unsigned k = 0; k < m.outputs; k++) {
        const std::string &path = files[m.inputs + k];
        FILE *f = fopen(path.c_str(), "wb");
        if (f == NULL || fwrite(results[k].data(), 1, results[k].size(), f) != results[k].size() || fclose(f) != 0)
            file_error(path, strerror(errno));
    }
    return 0;
}

// The project's own data: what comes out must be what is there.
inline int run_data(const model &m, const std::string &project) {
    std::vector<std::string> files;
    for (unsigned k = 0; k < m.inputs + m.outputs; k++)
        files.push_back(project + "/tb/data/" + m.ports[k].name + ".bin");
    const std::vector<std::vector<unsigned char> > results = call(m, m.data_rows, project + "/weights/kernel.bin", files);
    for (unsigned k = 0; k < m.outputs; k++) {
        const std::vector<unsigned char> expected = slurp(files[m.inputs + k]);
        for (size_t i = 0; i < results[k].size() || i < expected.size(); i++) {
            if (i < results[k].size() && i < expected.size() && results[k][i] == expected[i])
                continue;
            printf("FAIL: %s differs from %s at byte %lu\n", m.ports[m.inputs + k].name,
                   files[m.inputs + k].c_str(), (unsigned long)i);
            return differs_exit;
        }
    }
    printf("PASS: %u rows of %s, every byte equal\n", m.data_rows, m.name);
    return 0;
}

inline int main_of(const model *const *models, size_t count, int argc, const char *const *argv) {
    if (argc == 2 && count == 1)
        return run_data(*models[0], argv[1]);
    for (size_t i = 0; argc >= 4 && i < count; i++) {
        if (strcmp(models[i]->name, argv[1]) == 0 && argc == int(4 + models[i]->inputs + models[i]->outputs))
            return run_files(*models[i], argc, argv);
    }
    fprintf(stderr, "usage: MODEL ROWS WEIGHTS INPUT... OUTPUT..., or PROJECT-DIRECTORY\n");
    for (size_t i = 0; i < count; i++) {
        const model &m = *models[i];
        fprintf(stderr, "model %s %s %u %u", m.name, m.fingerprint, m.inputs, m.outputs);
        for (unsigned k = 0; k < m.inputs + m.outputs; k++)
            fprintf(stderr, " %ux%u%c", m.ports[k].elements, m.ports[k].bytes, m.ports[k].is_signed ? 's' : 'u');
        fprintf(stderr, "\n");
    }
    return usage_exit;
}

} // namespace hypersonic_bench

#endif
