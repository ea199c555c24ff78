// Carries out decided effects until they succeed, and turns each result into the next event. After a crash
// the outbox is simply run again.
#pragma once
#include "control/owner.h"
#include "control/pools.h"
#include "env/scope.h"

namespace ebb::control {

class EffectRunner {
 public:
  EffectRunner(Loop& loop, Owner& owner, Pools& pools, Logger log);
  // Never ends.
  Task<void> run();
  // Why the effects on `disk` have not succeeded yet; empty if nothing is wrong.
  std::string trouble(const DiskId& disk) const;

 private:
  // Tried, and to be tried again: meanwhile others have its place.
  struct Failed {
    DiskId disk;
    std::string why;
    Duration pause{};
    Instant again_at{};
  };
  Duration start_what_may_run(Scope& scope);
  Task<void> carry_out(Effect effect);
  Task<Status> carry_out_once(Effect effect);
  void note_failure(const Effect& effect, const Error& error);
  Status record_result(const Effect& effect, Batch& batch) const;
  static bool is_refused(const Effect& effect, const Error& error);
  void record_refusal(const Effect& effect, const Error& error, Batch& batch) const;

  static constexpr std::size_t at_a_time_max = 4;
  Loop& loop_;
  Owner& owner_;
  Pools& pools_;
  Logger log_;
  Poke poke_;
  std::set<std::string> running_;
  std::map<std::string, Failed> failed_;  // by the effect's key
};

}  // namespace ebb::control
