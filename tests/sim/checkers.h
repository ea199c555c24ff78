// The invariants that every run is held against, each one small class. They look at the records after each
// commit, at the pool after each put, at the
// machines as each one starts and every second, and at everything at the end.
#pragma once
#include <memory>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "model/fleet.h"

namespace ebb::fleet_sim {

class FleetSim;

class Checker {
 public:
  virtual ~Checker() = default;
  // After each commit: the records before and after it.
  virtual void on_commit(FleetSim&, const Fleet& /*before*/, const Fleet& /*after*/) {}
  // A copy of a VM has begun to run somewhere.
  virtual void on_boot(FleetSim&, const VmId&) {}
  // A guest has ended by itself, and had named this status before.
  virtual void on_guest_end(FleetSim&, const VmId&, std::uint32_t /*status*/) {}
  virtual void on_put(FleetSim&, const std::string& /*key*/, const Bytes& /*body*/) {}
  virtual void every_second(FleetSim&) {}
  // After act two, when everything had its time to come right.
  virtual void at_end(FleetSim&) {}
};

// All of them.
std::vector<std::unique_ptr<Checker>> all_checkers();
// Of these, those about limits: limit_checkers.cpp.
std::vector<std::unique_ptr<Checker>> limit_checkers();

}  // namespace ebb::fleet_sim
