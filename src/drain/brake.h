// The brake on evictions. Where a good part of a domain's workers falls silent at once, the fault is more likely between them and the
// control plane - a network, a clock, a control plane that slept - than in all of them: nothing is taken from them as from the dead,
// unless an operator says that they are.
#pragma once
#include "model/fleet.h"

namespace ebb::drain {

// So many workers of a zone, or of the cell, may look dead at once before it engages: the larger of the two.
struct BrakeLimits {
  std::uint32_t dead_min = 1;
  std::uint32_t dead_percent = 20;
};

// Looks once at all workers, at the first question.
class Brake final {
 public:
  Brake(const Fleet& fleet, const Seen& seen, const BrakeLimits& limits)
      : fleet_(fleet), seen_(seen), limits_(limits) {}
  // Why nothing may be taken from `worker` as from a dead one: "3 of 10 workers of zone b do not answer, ..."; empty: it may.
  std::string why_not(const WorkerId& worker);
  // Who can act on that, "operator" or "nobody", and how, if `workers` are to be emptied.
  std::string owner() const { return seen_.has_listened ? "operator" : "nobody"; }
  std::string remedy(const std::vector<WorkerId>& workers) const;

 private:
  struct Domain {
    std::uint32_t workers = 0, silent = 0;
  };
  void look();
  std::string engaged(const Domain& domain, const std::string& name) const;

  const Fleet& fleet_;
  const Seen& seen_;
  const BrakeLimits& limits_;
  bool has_looked_ = false;
  Domain cell_;
  std::map<std::string, Domain> zones_;
};

}  // namespace ebb::drain
