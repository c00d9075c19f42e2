// A host that knows XRT and nothing of ours: XCLBIN KERNEL UNITS ROWS X Y BYTES. Each compute unit gets the packed rows of X,
// all of them at a time; writes the BYTES of each one's output to Y, one after the other.
#include <xrt/xrt_bo.h>
#include <xrt/xrt_device.h>
#include <xrt/xrt_kernel.h>

#include <fstream>
#include <iostream>
#include <iterator>
#include <vector>

int main(int, char **argv) {
    const std::string kernel = argv[2];
    const std::size_t units = std::stoul(argv[3]), bytes = std::stoul(argv[7]);
    const unsigned rows = static_cast<unsigned>(std::stoul(argv[4]));
    std::ifstream from(argv[5], std::ios::binary);
    const std::vector<char> x{std::istreambuf_iterator<char>(from), {}};
    std::ofstream to(argv[6], std::ios::binary);
    try {
        xrt::device device{0};
        const xrt::uuid uuid = device.load_xclbin(argv[1]);
        std::vector<xrt::bo> inputs, outputs;
        std::vector<xrt::run> runs;
        for (std::size_t unit = 1; unit <= units; unit++) {
            xrt::kernel one{device, uuid, kernel + ":{" + kernel + "_" + std::to_string(unit) + "}"};
            inputs.emplace_back(device, x.size(), one.group_id(0));
            inputs.back().write(x.data());
            inputs.back().sync(XCL_BO_SYNC_BO_TO_DEVICE);
            outputs.emplace_back(device, bytes, one.group_id(1));
            runs.push_back(one(inputs.back(), outputs.back(), rows));
        }
        for (std::size_t i = 0; i < units; i++) {
            if (runs[i].wait() != ERT_CMD_STATE_COMPLETED)
                throw std::runtime_error("a run did not complete");
            outputs[i].sync(XCL_BO_SYNC_BO_FROM_DEVICE);
            std::vector<char> y(bytes);
            outputs[i].read(y.data());
            to.write(y.data(), std::streamsize(bytes));
        }
    } catch (const std::exception &e) {
        std::cerr << e.what() << std::endl;
        return 1;
    }
    return 0;
}
