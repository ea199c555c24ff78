#include "disk/nbd/range_lock.h"

namespace ebb::disk {

Task<RangeLock::Guard> RangeLock::lock(std::uint64_t begin, std::uint64_t end) {
  auto state = state_;
  auto entry = state->entries.insert(state->entries.end(), Entry{begin, end, 0, {}, {}});
  Guard guard(state, entry);
  for (auto& earlier : state->entries) {
    if (&earlier == &*entry) break;
    if (earlier.begin < end && begin < earlier.end) {
      earlier.blocked.push_back(&*entry);
      ++entry->blockers;
    }
  }
  if (entry->blockers > 0) {
    OneShot<bool> granted(loop_);
    entry->grant = granted.completer();
    co_await granted;
  }
  co_return guard;
}

RangeLock::Guard::~Guard() {
  if (!state_) return;  // moved from
  Entry* self = &*entry_;
  for (auto& other : state_->entries) std::erase(other.blocked, self);
  for (auto* later : self->blocked) {
    if (--later->blockers == 0 && later->grant) later->grant(true);
  }
  state_->entries.erase(entry_);
}

}  // namespace ebb::disk
