// What a read found, in order, as slices of bytes that lie elsewhere and do not change: a large read from the
// cache copies nothing.
#pragma once
#include <algorithm>
#include <vector>

#include "env/object_store.h"

namespace ebb::disk {

class Slices {
 public:
  Slices() = default;
  explicit Slices(Bytes all) : size_(all.size()) {
    auto owner = std::make_shared<const Bytes>(std::move(all));
    ByteView bytes = *owner;
    parts_.push_back({std::move(owner), bytes});
  }
  // `owner` keeps `bytes` where they are.
  void add(SharedBytes owner, ByteView bytes) {
    size_ += bytes.size();
    parts_.push_back({std::move(owner), bytes});
  }

  struct Part {
    SharedBytes owner;
    ByteView bytes;
  };
  const std::vector<Part>& parts() const { return parts_; }
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  bool is_all_zero() const {
    return std::ranges::all_of(parts_, [](const Part& part) { return ebb::is_all_zero(part.bytes); });
  }

 private:
  std::vector<Part> parts_;
  std::size_t size_ = 0;
};

}  // namespace ebb::disk
