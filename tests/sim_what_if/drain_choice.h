// Which workers the drains that are asked about are of.
#pragma once
#include "base/random.h"
#include "what_if.h"

namespace ebb::what_if {

struct DrainChoice {
  std::string what;  // "10% (2 of 3)"
  std::vector<std::uint32_t> workers;
};

// One or more drains for each wish: a drain takes so many workers at most. not_found: a wish selects nobody; invalid: two of them
// select the same worker.
Result<std::vector<DrainChoice>> choose_workers(const FleetRecords& records,
                                                const std::vector<DrainWish>& wishes, Random& random);

// "rack=r7", "zone=z1", "KEY=VALUE", "10%". invalid: it is none of these.
Result<DrainWish> parse_drain_wish(std::string_view text);

}  // namespace ebb::what_if
