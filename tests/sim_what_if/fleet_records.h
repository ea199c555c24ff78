// A fleet to ask "what if" of: the records of a cell, exported or made, and how long its moves take.
#pragma once
#include "drain/drain_planner.h"
#include "drain/pacing.h"
#include "model/fleet.h"

namespace ebb::what_if {

struct FleetRecords {
  std::string origin;  // "azure", or the name of an export
  std::vector<Worker> workers;
  std::vector<Vm> vms;
  std::vector<Disk> disks;
  std::vector<Image> images;
  std::vector<VmNetwork> networks;
  std::vector<Group> groups;
  std::vector<Budget> budgets;
  std::vector<Hold> holds;
  std::vector<Drain> drains;
  std::vector<Migration> migrations;
  drain::Eta phases;  // as measured; a mechanism that is absent takes what the planner assumes
  drain::PaceLimits pace;
};

}  // namespace ebb::what_if
