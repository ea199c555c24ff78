// Fleets to plan on, aged as real ones are. Nothing here knows the planner: it only places.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace ebb::bench {

// How VMs came to where they are.
enum class Policy {
  packed,     // best fit by RAM
  aged,       // the best of four random workers that have room
  scattered,  // a random one
  planted,    // lifted out of a layout that is full after the drain: a plan that leaves nothing behind exists
};

struct FleetSpec {
  std::string
      hardware;  // "az": 10400 cores, 2250 RAM a worker, in the units of the trace; "bal": 7400 and 2250
  Policy policy = Policy::aged;
  std::uint32_t workers = 0;
  double use_after = 0.95;  // of the scarcest dimension, once `drained` of the racks are empty
  double drained = 0.1;
  std::uint64_t seed = 1;
  std::string name() const;
};

struct Fleet {
  static constexpr std::uint32_t none = 0xffffffff, rack_workers = 20, zones = 3;

  struct Shape {
    std::uint32_t cores, ram;
  };
  struct Group {
    bool by_rack;  // one a rack; else one a worker
    std::uint32_t size;
  };
  std::uint32_t cores = 0, ram = 0;  // of each worker
  std::vector<bool> has_feature;     // by worker
  std::vector<Shape> shapes;
  std::vector<Group> groups;
  // By VM.
  std::vector<std::uint16_t> shape;
  std::vector<bool> needs_feature;
  std::vector<std::uint8_t>
      mechanism;  // how it moves: 15 % restart (0), 60 % by pointer (1), 25 % are cloned (2)
  std::vector<std::uint32_t> group, tenant, worker;  // group: or none
  std::uint32_t tenants = 0;
  std::vector<std::uint32_t> drained_racks;
  // What became of those who came while it aged.
  double rejects_pct = 0;

  std::uint32_t workers() const { return static_cast<std::uint32_t>(has_feature.size()); }
  static std::uint32_t rack(std::uint32_t worker) { return worker / rack_workers; }
  static std::uint32_t zone(std::uint32_t worker) { return rack(worker) % zones; }
  double empty_pct() const;    // of the workers
  double big_ram_pct() const;  // of the VMs' RAM: in VMs that take more than half a worker's
  std::string sha256() const;
};

// `data`: the folder with shapes.csv and group_sizes.csv.
Fleet make_fleet(const FleetSpec& spec, const std::string& data);

}  // namespace ebb::bench
