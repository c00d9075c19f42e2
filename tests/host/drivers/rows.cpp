// Packs and unpacks files with the headers of many models: MODELS(X) lists them. Standard input has a line a task:
//   pack|unpack MODEL TENSOR ROWS IN OUT
// and standard output a line a task: "ok", or what was thrown.
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>

template <class T> std::vector<T> load(const std::string &path) {
    std::ifstream file(path, std::ios::binary);
    std::vector<char> bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    std::vector<T> values(bytes.size() / sizeof(T));
    if (!values.empty())
        std::memcpy(values.data(), bytes.data(), values.size() * sizeof(T));
    return values;
}

template <class T> void save(const std::string &path, const std::vector<T> &values) {
    std::ofstream file(path, std::ios::binary);
    file.write(reinterpret_cast<const char *>(values.data()),
               static_cast<std::streamsize>(values.size() * sizeof(T)));
}

#define RUN(NAME)                                                                                                      \
    static void run_##NAME(const std::string &task, std::size_t tensor, std::size_t rows, const std::string &in,       \
                           const std::string &out) {                                                                   \
        namespace m = hypersonic::NAME;                                                                                \
        if (task == "pack") {                                                                                          \
            const m::Tensor &t = m::input(m::inputs.at(tensor).name);                                                  \
            save(out, m::pack(t, load<float>(in), rows));                                                              \
        } else {                                                                                                       \
            const m::Tensor &t = m::output(m::outputs.at(tensor).name);                                                \
            const std::vector<std::uint8_t> packed = load<std::uint8_t>(in);                                           \
            m::check_trailer(t, packed.data(), packed.size(), rows);                                                   \
            save(out, m::unpack(t, packed.data(), packed.size(), rows));                                               \
        }                                                                                                              \
    }
MODELS(RUN)

int main() {
    std::string task, model, in, out;
    std::size_t tensor, rows;
    while (std::cin >> task >> model >> tensor >> rows >> in >> out) {
        std::string answer = "ok";
        try {
#define PICK(NAME)                                                                                                     \
    if (model == #NAME)                                                                                                \
        run_##NAME(task, tensor, rows, in, out);
            MODELS(PICK)
        } catch (const std::exception &e) {
            answer = e.what();
        }
        for (char &c : answer)
            if (c == '\n')
                c = ' ';
        std::cout << answer << '\n';
    }
}
