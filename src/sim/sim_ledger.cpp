#include "sim/sim_ledger.h"

namespace ebb::sim {

std::uint64_t GuestLedger::begin(VmId vm, std::uint64_t epoch, std::string worker) {
  GuestRun run;
  run.vm = std::move(vm);
  run.boot = runs_.size() + 1;
  run.epoch = epoch;
  run.worker = std::move(worker);
  run.from = world_.loop().now();
  world_.loop().note(fmt::format("guest {} boot {} epoch {} on {}", run.vm, run.boot, run.epoch, run.worker));
  runs_.push_back(std::move(run));
  const auto boot = runs_.back().boot;
  if (on_begin_) on_begin_(runs_.back().vm);
  return boot;
}

void GuestLedger::end(std::uint64_t boot) {
  auto& ending = run(boot);
  if (ending.to) return;
  ending.to = world_.loop().now();
  world_.loop().note(fmt::format("guest {} boot {} ended, durable {}", ending.vm, boot, durable(ending.vm)));
}

void GuestLedger::forget(const VmId& vm) {
  durable_.erase(vm), loss_allowed_.erase(vm);
  forgotten_[vm] = runs_.size();
}

bool GuestLedger::is_forgotten(const GuestRun& run) const {
  auto found = forgotten_.find(run.vm);
  return found != forgotten_.end() && run.boot <= found->second;
}

bool GuestLedger::is_overtaken(const GuestRun& run, const Durable& durable) {
  return run.epoch < durable.epoch || (run.epoch == durable.epoch && run.boot < durable.boot);
}

void GuestLedger::acknowledge(std::uint64_t boot, std::uint64_t number) {
  auto& by = run(boot);
  auto now = world_.loop().now();
  ++by.acknowledged;
  if (!by.first_acknowledged) by.first_acknowledged = now;
  by.last_acknowledged = now;
  if (is_forgotten(by)) return;
  auto& durable = durable_[by.vm];
  if (is_overtaken(by, durable)) {
    // Told late of what its successor found and kept: true all the same.
    bool was_kept =
        number <= durable.records.size() && durable.records[number - 1] == GuestRecord{number, boot};
    if (was_kept) return;
    world_.violation(
        fmt::format("{}: boot {} (epoch {}) on {} had record {} made durable after boot {} (epoch {}) "
                    "had read its disk",
                    by.vm, boot, by.epoch, by.worker, number, durable.boot, durable.epoch));
    return;
  }
  durable.epoch = by.epoch, durable.boot = boot;
  if (number != durable.records.size() + 1) {
    world_.violation(fmt::format("{}: record {} made durable by boot {}, but {} is next", by.vm, number, boot,
                                 durable.records.size() + 1));
    return;
  }
  durable.records.push_back({number, boot});
}

std::uint64_t GuestLedger::take_allowed_loss(const GuestRun& finder) {
  std::uint64_t records = 0;
  std::erase_if(loss_allowed_[finder.vm], [&](const auto& loss) {
    const bool is_elsewhere = loss.first != finder.worker;
    if (is_elsewhere) records += loss.second;
    return is_elsewhere;
  });
  return records;
}

void GuestLedger::recovered(std::uint64_t boot, const std::vector<GuestRecord>& found) {
  auto& by = run(boot);
  by.recovered = found.size();
  if (is_forgotten(by)) return;
  auto& durable = durable_[by.vm];
  // What a copy sees that has a successor, and has not heard of it, is old. It can make nothing of it
  // durable.
  if (is_overtaken(by, durable)) return;
  const auto allowed = by.epoch > durable.epoch ? take_allowed_loss(by) : 0;
  durable.epoch = by.epoch, durable.boot = boot;
  auto& records = durable.records;
  if (found.size() + allowed < records.size()) {
    world_.violation(fmt::format("{}: records lost: {} were durable, boot {} (epoch {}) on {} found {}",
                                 by.vm, records.size(), boot, by.epoch, by.worker, found.size()));
  }
  for (std::size_t i = 0; i < std::min(found.size(), records.size()); ++i) {
    if (found[i] == records[i]) continue;
    world_.violation(fmt::format("{}: record {} was written by boot {} and is now of number {}, boot {}",
                                 by.vm, i + 1, records[i].boot, found[i].number, found[i].boot));
    break;
  }
  // Written but never acknowledged records may be there: from now on they count, for they were read.
  records = found;
}

void GuestLedger::io_error(std::uint64_t boot, const Error& error) {
  world_.violation(fmt::format("{}: I/O error in the guest (boot {} on {}): {}", run(boot).vm, boot,
                               run(boot).worker, error));
}

std::uint64_t GuestLedger::durable(const VmId& vm) const {
  auto found = durable_.find(vm);
  return found == durable_.end() ? 0 : found->second.records.size();
}

std::vector<const GuestRun*> GuestLedger::running(const VmId& vm) const {
  std::vector<const GuestRun*> found;
  for (auto& run : runs_)
    if (run.vm == vm && !run.to) found.push_back(&run);
  return found;
}

std::uint64_t GuestLedger::hash() const {
  auto hash = fnv1a("ledger");
  for (auto& run : runs_)
    hash = fnv1a(fmt::format("{} {} {} {} {} {} {}", run.vm, run.boot, run.epoch, run.worker,
                             run.acknowledged, run.recovered, run.from.time_since_epoch().count()),
                 hash);
  return hash;
}

}  // namespace ebb::sim
