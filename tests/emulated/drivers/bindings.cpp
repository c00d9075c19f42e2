// A model's own bindings: DEVICE XCLBIN PACKAGE ROWS X Y. Reads floats of all inputs, one after the other, and writes those of
// all outputs.
// The compiler is told the model's header (-include) and namespace (-DMODEL).
#include <fstream>
#include <iostream>

namespace model = hypersonic::MODEL;

int main(int, char **argv) {
    try {
        const std::size_t rows = std::stoul(argv[4]);
        std::ifstream from(argv[5], std::ios::binary);
        std::map<std::string, std::vector<float>> values;
        for (const model::Tensor &t : model::inputs) {
            std::vector<float> &x = values[std::string(t.name)];
            x.resize(rows * t.elements);
            from.read(reinterpret_cast<char *>(x.data()), std::streamsize(4 * x.size()));
        }
        model::CardOptions options;
        options.rows_a_launch = 1000;
        model::Card card = model::Card::open(argv[1], argv[2], argv[3], options);
        const auto results = card.infer(values, rows);
        std::ofstream to(argv[6], std::ios::binary);
        for (const model::Tensor &t : model::outputs) {
            const std::vector<float> &y = results.at(std::string(t.name));
            to.write(reinterpret_cast<const char *>(y.data()), std::streamsize(4 * y.size()));
        }
    } catch (const std::exception &e) {
        std::cerr << e.what() << std::endl;
        return 1;
    }
    return 0;
}
