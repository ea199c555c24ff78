#include "agent/log_rescues.h"

#include "agent/told.h"

namespace ebb::agent {
namespace {

bool passes(Code code) { return code == Code::unavailable || code == Code::busy || code == Code::internal; }

}  // namespace

bool LogRescues::is_wanted(const SeenRescue& told) const {
  return std::ranges::any_of(
      wanted_, [&](const RescueLog& wish) { return wish.into == told.into && wish.epoch == told.epoch; });
}

void LogRescues::want(std::vector<RescueLog> wanted) {
  wanted_ = std::move(wanted);
  std::erase_if(seen_, [this](const SeenRescue& told) { return !is_wanted(told); });
  look();
}

void LogRescues::look() {
  if (wanted_.empty() || std::exchange(is_asking_, true)) return;
  scope_.spawn(ask_all());
}

Task<void> LogRescues::ask_all() {
  for (const auto& wish : std::vector(wanted_)) {
    auto known = std::ranges::find(seen_, wish.into, &SeenRescue::into);
    if (known != seen_.end() && (known->written || !known->error.empty())) continue;
    auto done = co_await disks_.rescue(wish);
    SeenRescue told{wish.into, wish.epoch, done.has_value(), {}, {}};
    if (!done) (passes(done.error().code) ? told.waiting_for : told.error) = done.error().message;
    if (is_wanted(told) && remember(seen_, std::move(told), &SeenRescue::into)) changed_();
  }
  is_asking_ = false;
}

}  // namespace ebb::agent
