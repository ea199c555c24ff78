// Ids are distinct types over a string, so that a VM's name is never taken for a worker's.
#pragma once
#include <compare>
#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

namespace ebb {

template <class Tag>
struct Id {
  std::string value;

  Id() = default;
  explicit Id(std::string text) : value(std::move(text)) {}
  bool empty() const { return value.empty(); }
  const std::string& str() const { return value; }
  auto operator<=>(const Id&) const = default;
  bool operator==(const Id&) const = default;
};

using WorkerId = Id<struct WorkerTag>;
using VmId = Id<struct VmTag>;
using DiskId = Id<struct DiskTag>;
using ImageId = Id<struct ImageTag>;
using PoolId = Id<struct PoolTag>;
using NetworkId = Id<struct NetworkTag>;
using HoldId = Id<struct HoldTag>;
using BudgetId = Id<struct BudgetTag>;
using GroupId = Id<struct GroupTag>;
using DrainId = Id<struct DrainTag>;
using MigrationId = Id<struct MigrationTag>;

// Minted ids ("mig-9", "mig-10") in the order in which they were minted.
inline bool minted_before(const std::string& a, const std::string& b) {
  return a.size() != b.size() ? a.size() < b.size() : a < b;
}

// Names that operators choose: 1 to 63 of a-z, 0-9 and '-', first and last not '-' (a DNS label, RFC 1123).
bool is_valid_name(std::string_view name);

}  // namespace ebb

template <class Tag>
struct std::hash<ebb::Id<Tag>> {
  std::size_t operator()(const ebb::Id<Tag>& id) const noexcept { return std::hash<std::string>{}(id.value); }
};

#include <fmt/format.h>
template <class Tag>
struct fmt::formatter<ebb::Id<Tag>> : fmt::formatter<std::string_view> {
  auto format(const ebb::Id<Tag>& id, fmt::format_context& ctx) const {
    return fmt::formatter<std::string_view>::format(id.value, ctx);
  }
};
