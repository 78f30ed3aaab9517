// Rows of values without gaps, and memory for them that only grows.
#pragma once

#include <cstddef>
#include <vector>

namespace apdepth::detail {

// A window onto values of somebody else's. Signed sizes: shifts are added to them.
template <class T>
struct Plane {
    T *data = nullptr;
    std::ptrdiff_t height = 0, width = 0;

    T *row(std::ptrdiff_t y) const { return data + y * width; }
    operator Plane<const T>() const { return {data, height, width}; }
};

// Asks for memory only where a plane is larger than all before it. Values are left as they are.
template <class T>
class Room {
  public:
    Plane<T> plane(std::ptrdiff_t height, std::ptrdiff_t width) {
        const auto size = static_cast<std::size_t>(height) * static_cast<std::size_t>(width);
        if (values_.size() < size) values_.resize(size);
        return {values_.data(), height, width};
    }

  private:
    std::vector<T> values_;
};

}  // namespace apdepth::detail
