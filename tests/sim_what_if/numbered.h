// Names as numbers: what is kept of a million VMs is kept in arrays.
#pragma once
#include <string>
#include <unordered_map>
#include <vector>

#include "base/id.h"

namespace ebb::what_if {

inline constexpr std::uint32_t nobody = 0xffffffff;

template <class AnyId>
class Numbered {
 public:
  // The number of `id`, which is given one at its first time.
  std::uint32_t add(const AnyId& id) {
    auto [at, is_new] = index_.try_emplace(id, static_cast<std::uint32_t>(ids_.size()));
    if (is_new) ids_.push_back(id);
    return at->second;
  }
  std::uint32_t find(const AnyId& id) const {
    auto found = index_.find(id);
    return found == index_.end() ? nobody : found->second;
  }
  const AnyId& operator[](std::uint32_t index) const { return ids_[index]; }
  std::uint32_t size() const { return static_cast<std::uint32_t>(ids_.size()); }

 private:
  std::unordered_map<AnyId, std::uint32_t> index_;
  std::vector<AnyId> ids_;
};

}  // namespace ebb::what_if
