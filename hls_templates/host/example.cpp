// Runs @MODEL@ on a card with made-up inputs:
//   ./example DEVICE FILE.xclbin PACKAGE [ROWS]
// DEVICE is an index, as 0, or a PCIe address; PACKAGE the directory that `hypersonic compile` wrote.
#include <cstdio>

#include "@TOP@_xrt.hpp"

namespace model = hypersonic::@TOP@;

int main(int argc, char **argv) {
    if (argc < 4 || argc > 5) {
        std::fprintf(stderr, "usage: %s DEVICE FILE.xclbin PACKAGE [ROWS]\n", argv[0]);
        return 2;
    }
    try {
        const std::size_t rows = argc > 4 ? std::stoul(argv[4]) : 8;
        std::map<std::string, std::vector<float>> values;
        for (const model::Tensor &t : model::inputs) {
            std::vector<float> &x = values[std::string(t.name)];
            for (std::size_t i = 0; i < rows * t.elements; i++)
                x.push_back(static_cast<float>(i % 17) / 16 - 0.5f);
        }
        model::Card card = model::Card::open(argv[1], argv[2], argv[3]);
        for (const auto &[name, y] : card.infer(values, rows)) {
            std::printf("%s:", name.c_str());
            for (std::size_t i = 0; i < y.size() && i < 10; i++)
                std::printf(" %g", static_cast<double>(y[i]));
            std::printf("\n");
        }
    } catch (const std::exception &e) {
        std::fprintf(stderr, "%s\n", e.what());
        return 1;
    }
    return 0;
}
