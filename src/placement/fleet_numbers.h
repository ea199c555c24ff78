// A fleet in numbers, for placement at size: workers and VMs are indexes, everything else stands in arrays beside them. Whoever makes it
// keeps the names.
#pragma once
#include <array>
#include <cstdint>
#include <limits>
#include <vector>

namespace ebb::placement {

inline constexpr std::size_t dimensions_max = 12;
inline constexpr std::size_t levels_max = 4;

using Amount = std::uint32_t;                        // in the fleet's own unit of that dimension
using Amounts = std::array<Amount, dimensions_max>;  // those beyond the fleet's dimensions are 0
using Features = std::uint64_t;                      // a bit each: CPU features, labels, pools, networks
using WorkerIndex = std::uint32_t;
using VmIndex = std::uint32_t;
using DomainIndex = std::uint32_t;
inline constexpr std::uint32_t none = std::numeric_limits<std::uint32_t>::max();

// Workers that are alike but for what they run and where they stand.
struct WorkerKind {
  Amounts capacity{};
  Features features = 0;
};

// VMs that are alike.
struct Shape {
  Amounts needs{};
  Features features = 0;  // that its worker must have
};

// VMs that are placed with regard to each other.
struct Group {
  // At most so many of them in one domain of that level, from the worker (0) outwards; 0: any number.
  std::array<std::uint16_t, levels_max> apart{};
  std::uint8_t together = 0;  // all of them in one domain of this level plus one; 0: wherever
};

struct FleetNumbers {
  std::size_t dimensions = 2;
  std::vector<WorkerKind> kinds;
  std::vector<Shape> shapes;
  std::vector<Group> groups;
  // By worker.
  std::vector<std::uint32_t> kind_of;
  std::vector<bool> is_closed;  // takes nothing: it is held, drained, or due to be
  // By level from 1 and worker: rack, zone, region. A level's domains lie within those of the next.
  std::vector<std::vector<DomainIndex>> domains;
  // By VM.
  std::vector<std::uint32_t> shape_of;
  std::vector<std::uint32_t> group_of;  // or none
  std::vector<WorkerIndex> worker_of;   // or none: it runs nowhere

  std::size_t workers() const { return kind_of.size(); }
  std::size_t vms() const { return shape_of.size(); }
  // A worker is a domain of its own.
  DomainIndex domain(std::size_t level, WorkerIndex worker) const {
    return level == 0 ? worker : domains[level - 1][worker];
  }
};

}  // namespace ebb::placement
