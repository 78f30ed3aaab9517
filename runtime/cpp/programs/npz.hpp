// NumPy's .npz: a ZIP archive of arrays, as numpy.savez_compressed writes it.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

// One array in C order. `type` is NumPy's: "|u1", "<i2".
struct Array {
    std::string type;
    std::vector<std::size_t> shape;
    std::string data;
};

// The arrays by name. Throws std::runtime_error for anything else, and for more than `most` bytes.
std::map<std::string, Array> read_npz(const std::string &bytes, std::size_t most);
