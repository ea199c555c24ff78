#include "move_tally.h"

namespace ebb::what_if {
namespace {

const PhaseTime* entered(const Migration& m, Phase phase) {
  const auto found = std::ranges::find(m.history, phase, &PhaseTime::phase);
  return found == m.history.end() ? nullptr : &*found;
}

}  // namespace

void MoveTally::on_commit(const Committed& committed) {
  for (const auto& record : committed.puts)
    if (const auto* migration = std::get_if<Migration>(&record)) take(*migration);
}

void MoveTally::take(const Migration& m) {
  ++changes_;
  const auto known = open_.find(m.id);
  const auto was = known == open_.end() ? Phase::reserving : known->second;
  if (!is_past_no_return(was) && is_past_no_return(m.phase))
    if (const auto vm = vm_names_.find(m.vm); vm != nobody) ++moves_of_[vm];
  if (!is_ended(m.phase)) {
    open_[m.id] = m.phase;
    return;
  }
  open_.erase(m.id);
  last_end_at_ = std::max(last_end_at_, m.history.back().entered_at);
  ++(m.phase == Phase::done ? counts_.done : counts_.aborted);
  counts_.failed_targets += m.rejected.size(), counts_.of_dead += m.source_dead;
  const auto *stopped = entered(m, Phase::freezing), *runs = entered(m, Phase::releasing);
  if (m.phase != Phase::done || m.source_dead || !m.rejected.empty() || !stopped || !runs) return;
  interruptions_[m.mechanism].push_back(static_cast<std::uint32_t>(runs->entered_at - stopped->entered_at));
}

std::uint64_t MoveTally::vms_moved() const {
  return static_cast<std::uint64_t>(std::ranges::count_if(moves_of_, [](auto n) { return n > 0; }));
}

std::uint64_t MoveTally::vms_bounced() const {
  return static_cast<std::uint64_t>(std::ranges::count_if(moves_of_, [](auto n) { return n > 1; }));
}

std::uint64_t MoveTally::bounces() const {
  std::uint64_t all = 0;
  for (const auto n : moves_of_) all += n > 1 ? n - 1 : 0;
  return all;
}

}  // namespace ebb::what_if
