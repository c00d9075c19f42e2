// A model's own bindings: DEVICE XCLBIN PACKAGE ROWS X Y. Reads floats of the first input, writes those of the first output.
// The compiler is told the model's header (-include) and namespace (-DMODEL).
#include <fstream>
#include <iostream>

namespace model = hypersonic::MODEL;

int main(int, char **argv) {
    try {
        const std::size_t rows = std::stoul(argv[4]);
        std::vector<float> x(rows * model::inputs[0].elements);
        std::ifstream(argv[5], std::ios::binary).read(reinterpret_cast<char *>(x.data()), std::streamsize(4 * x.size()));
        model::CardOptions options;
        options.rows_a_launch = 1000;
        model::Card card = model::Card::open(argv[1], argv[2], argv[3], options);
        const std::vector<float> y =
            card.infer({{std::string(model::inputs[0].name), x}}, rows).at(std::string(model::outputs[0].name));
        std::ofstream(argv[6], std::ios::binary)
            .write(reinterpret_cast<const char *>(y.data()), std::streamsize(4 * y.size()));
    } catch (const std::exception &e) {
        std::cerr << e.what() << std::endl;
        return 1;
    }
    return 0;
}
