#include "sim/crash_points.h"

#include "sim/sim_world.h"

namespace ebb::sim {

void CrashPoints::arm(Filter filter, std::uint64_t nth, Action action) {
  filter_ = std::move(filter);
  action_ = action ? std::move(action) : [](const CrashPoint& at) { at.process.kill(); };
  nth_ = nth;
  count_ = 0;
  fired_.reset();
}

void CrashPoints::pass(SimProcess& process, std::string_view kind, std::string_view subject) {
  CrashPoint at{kind, subject, process};
  if (!filter_ || !process.is_alive() || !filter_(at)) return;
  if (count_++ != nth_) return;
  fired_ = fmt::format("{} {} by {}", kind, subject, process.name());
  process.world().loop().note(*fired_);
  auto action = action_;  // the action may arm the next one
  action(at);
}

CrashPoints::Filter CrashPoints::of_kind(std::string prefix) {
  return [prefix = std::move(prefix)](const CrashPoint& at) { return at.kind.starts_with(prefix); };
}

}  // namespace ebb::sim
