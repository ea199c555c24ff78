// Does a store keep the promises that our protocols rest on? Asked of every pool before it is used.
// Deletes nothing (workers may not): a few tiny objects under probe/<nonce>/ stay.
#pragma once
#include <boost/describe.hpp>
#include <string>
#include <vector>

#include "env/loop.h"
#include "env/object_store.h"

namespace ebb::disk {

struct ProbeCheck {
  std::string name;                  // the promise, as in "create if absent"
  std::vector<std::string> wrong;    // a sentence each; empty: kept
  std::vector<std::string> unknown;  // what the store does not tell, so that nobody knows
  bool operator==(const ProbeCheck&) const = default;
};
BOOST_DESCRIBE_STRUCT(ProbeCheck, (), (name, wrong, unknown))

struct ProbeReport {
  std::vector<ProbeCheck> checks;
  std::uint64_t took_ms = 0;
  bool operator==(const ProbeReport&) const = default;
  bool is_good() const;
  bool is_complete() const;  // nothing is unknown
  // "NAME: SENTENCE; NAME: SENTENCE ..."; empty if all is well.
  std::string what_is_wrong() const;
};
BOOST_DESCRIBE_STRUCT(ProbeReport, (), (checks, took_ms))

// How often what may go well by chance is tried.
struct ProbeEffort {
  int races = 20, overwrites = 20;
};

inline constexpr Duration probe_limit = 2min;  // about a hundred requests, most of them one after the other

// unavailable: the store did not answer, or not within `probe_limit`: nothing is known. invalid: it refuses
// even a plain write or read, as with a wrong key.
Task<Result<ProbeReport>> probe_pool(Loop& loop, ReclaimableStore& store, ProbeEffort effort = {});

// The same, as one verdict. invalid: the store must not be used; the message says what it gets wrong.
Task<Status> require_good_pool(Loop& loop, ReclaimableStore& store, ProbeEffort effort = {});

}  // namespace ebb::disk
