// Numbers by the key of each: the VMs of each group, the VMs on each worker. Made once, two arrays.
#pragma once
#include <span>

#include "placement/fleet_numbers.h"

namespace ebb::placement {

class Grouped final {
 public:
  Grouped() = default;
  // `key_of`: by number; below `keys`, or none: in no list.
  Grouped(std::size_t keys, const std::vector<std::uint32_t>& key_of) : from_(keys + 1, 0) {
    for (const auto key : key_of)
      if (key != none) ++from_[key + 1];
    for (std::size_t key = 0; key < keys; ++key) from_[key + 1] += from_[key];
    numbers_.resize(from_.back());
    auto next = from_;
    for (std::uint32_t number = 0; number < key_of.size(); ++number)
      if (key_of[number] != none) numbers_[next[key_of[number]]++] = number;
  }
  // In ascending order.
  std::span<const std::uint32_t> operator[](std::uint32_t key) const {
    return std::span(numbers_).subspan(from_[key], from_[key + 1] - from_[key]);
  }

 private:
  std::vector<std::uint32_t> from_, numbers_;
};

}  // namespace ebb::placement
