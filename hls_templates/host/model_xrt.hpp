// @MODEL@ on a card, through XRT's native C++ API. Written by Hypersonic; C++17, XRT 2.13 or newer.
//
//     Card card = Card::open("0", "@TOP@.xclbin", "package");
//     auto results = card.infer({{"x", values}}, rows);       // floats by ONNX name, any number of rows
//
// Never run on a card by those who wrote the generator: run with XRT 2.13 and emulated cards (`hypersonic xrt-emu`).
#ifndef HYPERSONIC_HOST_@GUARD@_XRT_HPP
#define HYPERSONIC_HOST_@GUARD@_XRT_HPP

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <thread>

#include <xrt/xrt_bo.h>
#include <xrt/xrt_device.h>
#include <xrt/xrt_kernel.h>

#include "@TOP@.hpp"

namespace hypersonic::@TOP@ {

/// How a card is used.
struct CardOptions {
    /// Most rows of one launch of the kernel; more are split. Buffers are made for so many.
    std::size_t rows_a_launch = 4096;
    /// How long a launch may take; 0: for ever.
    std::chrono::milliseconds timeout{30'000};
    /// The compute unit to use, as "@KERNEL@_1"; empty: XRT's choice.
    std::string compute_unit;
};

namespace detail {

template <class T> T little(const std::vector<char> &bytes, std::size_t at) {
    T value{};
    for (std::size_t i = 0; i < sizeof(T); i++)
        value |= static_cast<T>(static_cast<T>(static_cast<std::uint8_t>(bytes[at + i])) << 8 * i);
    return value;
}

/// Refuses what is no whole xclbin: XRT reads past the end of a file that was cut off.
inline void check_xclbin(const std::string &path) {
    std::ifstream file(path, std::ios::binary | std::ios::ate);
    if (!file)
        throw Error("cannot read the xclbin " + path);
    constexpr std::size_t head = 456, entry = 40;
    const auto size = static_cast<std::uint64_t>(file.tellg());
    const auto part = [&](std::uint64_t at, std::size_t bytes) {
        std::vector<char> read(bytes);
        file.seekg(static_cast<std::streamoff>(at));
        if (size < at + bytes || !file.read(read.data(), static_cast<std::streamsize>(bytes)))
            throw Error(path + " is cut off after " + std::to_string(size) + " bytes; copy it again");
        return read;
    };
    const std::vector<char> magic = part(0, 8);
    if (std::memcmp(magic.data(), "xclbin2", 8) != 0)
        throw Error(path + " is no xclbin: it does not begin with 'xclbin2'");
    const std::vector<char> fixed = part(0, head);
    const auto length = little<std::uint64_t>(fixed, 304);
    if (length != size)
        throw Error(path + " has " + std::to_string(size) + " bytes, its header says " + std::to_string(length) +
                    "; copy it again");
    const std::vector<char> sections = part(head, entry * std::min<std::size_t>(little<std::uint32_t>(fixed, 448), 4096));
    for (std::size_t at = 0; at < sections.size(); at += entry) {
        const auto offset = little<std::uint64_t>(sections, at + 24), bytes = little<std::uint64_t>(sections, at + 32);
        if (offset > size || bytes > size - offset)
            throw Error(path + " has a section beyond its end; copy it again");
    }
}

/// Refuses a machine on which XRT would end the process instead of throwing.
inline void check_runtime() {
    const char *root = std::getenv("XILINX_XRT");
    if (root == nullptr || *root == '\0')
        throw Error("XILINX_XRT is not set; source XRT's setup.sh first");
    const std::string mode = [] {
        const char *set = std::getenv("XCL_EMULATION_MODE");
        return std::string(set == nullptr ? "" : set);
    }();
    const std::string shim = mode == "hw_emu" ? "xrt_hwemu" : mode == "sw_emu" ? "xrt_swemu"
                             : mode == "noop" ? "xrt_noop" : "xrt_core";
    const std::filesystem::path lib = std::filesystem::path(root) / "lib";
    std::error_code ignored;
    for (const auto &file : std::filesystem::directory_iterator(lib, ignored))
        if (file.path().filename().string().rfind("lib" + shim + ".so", 0) == 0)
            return;
    throw Error("there is no lib" + shim + ".so in " + lib.string() + "; XILINX_XRT must name XRT's directory");
}

/// XRT's device of an index ("0") or a PCIe address ("0000:3b:00.1").
inline ::xrt::device device(const std::string &name) {
    if (name.empty())
        throw Error("no device is named; give an index, as 0, or a PCIe address, as 0000:3b:00.1");
    if (name.find_first_not_of("0123456789") != std::string::npos)
        return ::xrt::device(name);
    if (name.size() > 4)
        throw Error("there is no device " + name);
    return ::xrt::device(static_cast<unsigned>(std::stoul(name)));
}

inline std::vector<char> weights(const std::string &package) {
    const std::string path = (std::filesystem::path(package) / std::string(weights_path)).string();
    std::ifstream file(path, std::ios::binary);
    std::vector<char> bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    if (bytes.size() != weights_bytes)
        throw Error("the weights " + path + " have " + std::to_string(bytes.size()) + " bytes, expected " +
                    std::to_string(weights_bytes) + "; name the directory of the package");
    return bytes;
}

} // namespace detail

/// The model's kernel on a card. Calls on one object must not overlap. Every call throws Error, with what went wrong.
class Card {
  public:
    /// Loads `xclbin` onto the device of an index ("0") or PCIe address, makes the buffers and uploads the weights,
    /// which are read from `package`, the directory that `hypersonic compile` wrote.
    static Card open(const std::string &device, const std::string &xclbin, const std::string &package,
                     const CardOptions &options = {}) {
        detail::check_runtime();
        detail::check_xclbin(xclbin);
        try {
            return Card(device, xclbin, package, options);
        } catch (const Error &) {
            throw;
        } catch (const std::exception &e) {
            throw Error("device " + device + ", " + xclbin + ": " + e.what());
        }
    }

    Card(Card &&) = default;
    Card &operator=(Card &&other) {
        std::swap(state, other.state);
        return *this;
    }
    /// The handles of a kernel that hangs cannot be freed: XRT crashes.
    ~Card() {
        if (state && state->hangs)
            state.release();
    }

    /// Runs `rows` rows of floats in ONNX order, `elements` a row, by the inputs' names; gives the outputs likewise.
    std::map<std::string, std::vector<float>> infer(const std::map<std::string, std::vector<float>> &values,
                                                    std::size_t rows) {
        for (const auto &named : values)
            (void)input(named.first);
        std::vector<std::vector<std::uint8_t>> packed;
        for (const Tensor &t : inputs) {
            const auto found = values.find(std::string(t.name));
            if (found == values.end())
                throw Error("there are no values for input " + detail::quoted(t.name));
            packed.push_back(pack(t, found->second, rows));
        }
        const std::vector<std::vector<std::uint8_t>> results = infer_packed(packed, rows);
        std::map<std::string, std::vector<float>> outcome;
        for (std::size_t i = 0; i < outputs.size(); i++)
            outcome[std::string(outputs[i].name)] = unpack(outputs[i], results[i].data(), results[i].size(), rows);
        return outcome;
    }

    /// Runs packed rows, a buffer of row_bytes() a model input, in model order. Gives a buffer of output_bytes() a
    /// model output: packed rows and a trailer, which has been checked.
    std::vector<std::vector<std::uint8_t>> infer_packed(const std::vector<std::vector<std::uint8_t>> &packed,
                                                        std::size_t rows) {
        if (packed.size() != inputs.size())
            throw Error(std::to_string(packed.size()) + " buffers for " + std::to_string(inputs.size()) + " inputs");
        std::vector<const std::uint8_t *> from;
        for (std::size_t i = 0; i < inputs.size(); i++) {
            if (packed[i].size() != row_bytes(inputs[i], rows))
                throw Error("input " + detail::quoted(inputs[i].name) + " has " + std::to_string(packed[i].size()) +
                            " bytes; " + std::to_string(rows) + " rows take " +
                            std::to_string(row_bytes(inputs[i], rows)));
            from.push_back(packed[i].data());
        }
        std::vector<std::vector<std::uint8_t>> results;
        std::vector<std::uint8_t *> to;
        for (const Tensor &t : outputs)
            to.push_back(results.emplace_back(output_bytes(t, rows)).data());
        infer_packed(from.data(), to.data(), rows);
        return results;
    }

    /// As above, on buffers of the caller: `from` has row_bytes() bytes each, `to` room for output_bytes().
    void infer_packed(const std::uint8_t *const *from, std::uint8_t *const *to, std::size_t rows) {
        if (!state)
            throw Error("this card was moved away");
        if (state->hangs)
            throw Error("the kernel hangs since an earlier call; end the process and reset the card");
        try {
            std::size_t done = 0;
            do {
                const std::size_t now = std::min(rows - done, state->options.rows_a_launch);
                launch(from, to, done, now);
                done += now;
            } while (done < rows);
        } catch (const Error &) {
            throw;
        } catch (const std::exception &e) {
            throw Error(std::string("XRT: ") + e.what());
        }
        for (std::size_t i = 0; i < outputs.size(); i++) {
            // Launches have trailers of their own, checked already; the results get one for them all.
            std::uint8_t *trailer = to[i] + row_bytes(outputs[i], rows);
            std::memset(to[i] + outputs[i].stride * rows, 0, row_bytes(outputs[i], rows) - outputs[i].stride * rows);
            std::memset(trailer, 0, block_bytes);
            std::memcpy(trailer, "hypersnc", 8);
            for (std::size_t byte = 0; byte < 4; byte++) {
                trailer[8 + byte] = static_cast<std::uint8_t>(abi_version >> 8 * byte);
                trailer[12 + byte] = static_cast<std::uint8_t>(rows >> 8 * byte);
            }
            std::memcpy(trailer + 16, fingerprint.data(), fingerprint.size());
        }
    }

  private:
    struct State {
        CardOptions options;
        ::xrt::device device;
        ::xrt::kernel kernel;
        std::vector<::xrt::bo> in, out;
        ::xrt::bo weights;
        ::xrt::run run;
        bool hangs = false;
    };
    std::unique_ptr<State> state = std::make_unique<State>();

    Card(const std::string &name, const std::string &xclbin, const std::string &package, const CardOptions &options) {
        if (options.rows_a_launch == 0 || options.rows_a_launch > 0xffffffff)
            throw Error(std::to_string(options.rows_a_launch) + " rows a launch; expected 1 to 4294967295");
        std::vector<char> weights;
        if (!weights_path.empty())
            weights = detail::weights(package);
        State &s = *state;
        s.options = options;
        s.device = detail::device(name);
        const ::xrt::uuid uuid = s.device.load_xclbin(xclbin);
        std::string kernel(kernel_name);
        if (!options.compute_unit.empty())
            kernel += ":{" + options.compute_unit + "}";
        s.kernel = ::xrt::kernel(s.device, uuid, kernel);
        s.run = ::xrt::run(s.kernel);
        int argument = 0;
        const auto buffer = [&](std::size_t bytes) {
            ::xrt::bo bo(s.device, bytes, static_cast<::xrt::memory_group>(s.kernel.group_id(argument)));
            s.run.set_arg(argument++, bo);
            return bo;
        };
        for (const Tensor &t : inputs)
            s.in.push_back(buffer(row_bytes(t, options.rows_a_launch)));
        for (const Tensor &t : outputs)
            s.out.push_back(buffer(output_bytes(t, options.rows_a_launch)));
        s.run.set_arg(argument++, std::uint32_t{0});
        if (!weights.empty()) {
            s.weights = buffer(weights.size());
            s.weights.write(weights.data());
            s.weights.sync(XCL_BO_SYNC_BO_TO_DEVICE);
        }
    }

    /// Rows first..first + rows of the call.
    void launch(const std::uint8_t *const *from, std::uint8_t *const *to, std::size_t first, std::size_t rows) {
        State &s = *state;
        const std::vector<std::uint8_t> zeros(block_bytes);
        for (std::size_t i = 0; i < inputs.size(); i++) {
            const std::size_t bytes = inputs[i].stride * rows, padded = row_bytes(inputs[i], rows);
            if (padded == 0)
                continue;
            s.in[i].write(from[i] + inputs[i].stride * first, bytes, 0);
            if (padded > bytes)
                s.in[i].write(zeros.data(), padded - bytes, bytes);
            s.in[i].sync(XCL_BO_SYNC_BO_TO_DEVICE, padded, 0);
        }
        // The trailer of an earlier launch must not pass for this one's.
        for (std::size_t i = 0; i < outputs.size(); i++) {
            const std::size_t at = row_bytes(outputs[i], rows);
            s.out[i].write(zeros.data(), block_bytes, at);
            s.out[i].sync(XCL_BO_SYNC_BO_TO_DEVICE, block_bytes, at);
        }
        s.run.set_arg(static_cast<int>(inputs.size() + outputs.size()), static_cast<std::uint32_t>(rows));
        s.run.start();
        wait(rows);
        for (std::size_t i = 0; i < outputs.size(); i++) {
            const std::size_t bytes = output_bytes(outputs[i], rows);
            s.out[i].sync(XCL_BO_SYNC_BO_FROM_DEVICE, bytes, 0);
            const auto *results = s.out[i].map<const std::uint8_t *>();
            check_trailer(outputs[i], results, bytes, rows);
            std::memcpy(to[i] + outputs[i].stride * first, results, outputs[i].stride * rows);
        }
    }

    void wait(std::size_t rows) {
        State &s = *state;
        ert_cmd_state found = s.run.state();
        if (s.options.timeout.count() == 0)
            found = s.run.wait();
        // Polled, because the timeout of XRT's own wait does not hold in emulation.
        const auto begin = std::chrono::steady_clock::now();
        std::chrono::microseconds pause{0};
        while (found < ERT_CMD_STATE_COMPLETED || found == ERT_CMD_STATE_SUBMITTED) {
            if (std::chrono::steady_clock::now() - begin > s.options.timeout) {
                s.hangs = true;
                throw Error("the kernel did not finish " + std::to_string(rows) + " rows within " +
                            std::to_string(s.options.timeout.count()) + " ms; end the process and reset the card");
            }
            std::this_thread::sleep_for(pause);
            pause = std::min(pause + std::chrono::microseconds{5}, std::chrono::microseconds{1000});
            found = s.run.state();
        }
        if (found != ERT_CMD_STATE_COMPLETED)
            throw Error("the run ended in state " + std::to_string(static_cast<int>(found)) + " (ert.h), not completed");
        s.run.wait();
    }
};

} // namespace hypersonic::@TOP@

#endif
