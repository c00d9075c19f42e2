// The class Card over the stand-in for XRT: ROWS ROWS_A_LAUNCH DEVICE. Prints launches, "ok", or what was thrown.
namespace hypersonic::swap {
extern const unsigned char other[16];
}
#define FINGERPRINT_OF_THE_CARD (fault("model") ? hypersonic::swap::other : card_fingerprint)
extern const unsigned char *card_fingerprint;
#include "swap_xrt.hpp"

#include <iostream>

const unsigned char hypersonic::swap::other[16] = {1, 2, 3};
const unsigned char *card_fingerprint = hypersonic::swap::fingerprint.data();

int main(int, char **argv) {
    using namespace hypersonic::swap;
    const std::size_t rows = std::stoul(argv[1]);
    std::vector<float> x(rows * 6);
    for (std::size_t i = 0; i < x.size(); i++)
        x[i] = static_cast<float>(i % 100) / 16;
    int failures = 0;
    try {
        CardOptions options;
        options.rows_a_launch = std::stoul(argv[2]);
        options.timeout = std::chrono::milliseconds{50};
        options.compute_unit = "swap_kernel_2";
        Card first = Card::open(argv[3], "swap.xclbin", ".", options);
        Card card = std::move(first);
        for (int again = 0; again < 2; again++) {
            try {
                std::cout << (card.infer({{"x", x}}, rows).at("y") == x ? "ok" : "wrong values") << std::endl;
                const auto packed = pack(inputs[0], x, rows);
                const auto results = card.infer_packed({packed}, rows);
                check_trailer(outputs[0], results[0].data(), results[0].size(), rows);
                failures += !std::equal(packed.begin(), packed.end(), results[0].begin());
            } catch (const Error &e) {
                std::cout << e.what() << std::endl;
                failures++;
            }
        }
        for (const auto &bad : std::vector<std::map<std::string, std::vector<float>>>{{}, {{"z", x}}, {{"x", {1}}}})
            try {
                card.infer(bad, rows);
                failures += 100;
            } catch (const Error &e) {
                std::cout << e.what() << std::endl;
            }
    } catch (const Error &e) {
        std::cout << e.what() << std::endl;
        return 1;
    }
    return failures;
}
