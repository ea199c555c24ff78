#include "disk_control.h"

#include "disk_troubles.h"

namespace ebb::disk_sim {

void Control::add(const DiskId& disk) {
  placed_[disk].worker = random_.below(fleet_.workers().size());
  order_.push_back(disk);
}

OpenDisk Control::open_request(const DiskId& disk, const Placed& placed, Epoch epoch) const {
  OpenDisk request{disk, pool_id, epoch, fleet_.oracle().class_of(disk), false, placed.take_over};
  if (placed.take_over && keeps_cuts_) request.cuts = {cut_of(epoch)};
  return request;
}

std::size_t Control::other_worker(std::size_t worker) {
  return (worker + 1 + random_.below(fleet_.workers().size() - 1)) % fleet_.workers().size();
}

void Control::place(Placed& placed, std::size_t worker, bool take_over) {
  ++placed.epoch;
  placed.worker = worker, placed.take_over = take_over, placed.refusals = 0;
  placed.move.reset();
  placed.ask_at = fleet_.now();
}

void Control::act() {
  if (order_.empty()) return;
  const auto& disk = order_[random_.below(order_.size())];
  auto& placed = placed_.at(disk);
  if (placed.is_held) return;
  auto& worker = fleet_.workers()[placed.worker];
  const auto dice = random_.below(100);
  if (dice < 35) {  // a planned move
    placed.move = Move{other_worker(placed.worker), fleet_.now() + between(random_, 500ms, 6s)};
    if (random_.chance(0.5))
      fleet_.ask_standby(fleet_.workers()[placed.move->target], disk, placed.epoch + 1);
  } else if (dice < 60) {  // without a confirmed stop, whether the owner is well or not
    place(placed, other_worker(placed.worker), true);
  } else if (dice < 70) {  // two at nearly the same time
    place(placed, other_worker(placed.worker), true);
    fleet_.ask_open(fleet_.workers()[placed.worker], open_request(disk, placed, placed.epoch));
    place(placed, other_worker(placed.worker), true);
  } else if (dice < 80) {  // started again where it was, under a new epoch
    place(placed, placed.worker, random_.chance(0.5));
  } else if (dice < 88) {
    fleet_.ask_close(worker, disk);
  } else if (dice < 94) {  // a request of long ago
    auto old = 1 + random_.below(placed.epoch);
    fleet_.ask_open(fleet_.workers()[other_worker(placed.worker)], open_request(disk, placed, old));
  } else {
    fleet_.ask_seal(worker, disk, placed.epoch);
  }
}

bool Control::is_due(Placed& placed) {
  if (fleet_.now() < placed.ask_at) return false;
  placed.ask_at = fleet_.now() + between(random_, 100ms, 500ms);
  return true;
}

void Control::reconcile() {
  boot_workers();
  for (const auto& disk : order_) {
    auto& placed = placed_.at(disk);
    if (placed.is_held) continue;
    replace_silent(placed);
    if (placed.move)
      go_on_with_move(disk, placed);
    else
      ask_for(disk, placed);
    close_elsewhere(disk, placed);
  }
}

// Who does not answer may be dead.
void Control::replace_silent(Placed& placed) {
  auto& worker = fleet_.workers()[placed.worker];
  const bool is_silent = worker.is_up() && !worker.is_running();
  if (is_silent && random_.chance(0.1)) place(placed, other_worker(placed.worker), true);
}

void Control::boot_workers() {
  for (auto& worker : fleet_.workers()) {
    if (worker.is_up()) continue;
    auto [at, is_new] = boot_at_.emplace(worker.name, fleet_.now());
    if (is_new && !is_settling_)
      at->second += random_.chance(0.1) ? between(random_, 3s, 10s) : between(random_, 10ms, 1500ms);
    if (fleet_.now() < at->second && !is_settling_) continue;
    boot_at_.erase(at);
    fleet_.boot(worker);
  }
}

void Control::go_on_with_move(const DiskId& disk, Placed& placed) {
  auto& source = fleet_.workers()[placed.worker];
  const auto target = placed.move->target;
  auto status = source.is_running() ? DiskFleet::status_of(source, disk) : std::nullopt;
  if (status && status->state == DiskSeen::sealed && status->epoch >= placed.epoch)
    return place(placed, target, false);
  if (fleet_.now() > placed.move->give_up_at)
    return random_.chance(0.5) ? place(placed, target, true) : place(placed, placed.worker, false);
  if (is_due(placed)) fleet_.ask_seal(source, disk, placed.epoch);
}

void Control::ask_for(const DiskId& disk, Placed& placed) {
  constexpr int refusals_max = 5;
  auto& worker = fleet_.workers()[placed.worker];
  if (!worker.is_running() || !is_due(placed)) return;
  auto status = DiskFleet::status_of(worker, disk);
  const bool is_there = status && status->epoch == placed.epoch &&
                        (status->state == DiskSeen::open || status->state == DiskSeen::opening ||
                         status->state == DiskSeen::sealing);
  if (is_there) return;
  const bool is_refused = status && (status->state == DiskSeen::failed || status->state == DiskSeen::fenced);
  if (is_refused && ++placed.refusals > refusals_max) place(placed, placed.worker, true);
  fleet_.ask_open(worker, open_request(disk, placed, placed.epoch));
}

void Control::close_elsewhere(const DiskId& disk, const Placed& placed) {
  for (std::size_t i = 0; i < fleet_.workers().size(); ++i) {
    auto& worker = fleet_.workers()[i];
    if (i == placed.worker || !worker.is_running() || !random_.chance(is_settling_ ? 0.2 : 0.02)) continue;
    auto status = DiskFleet::status_of(worker, disk);
    if (status && status->epoch < placed.epoch) fleet_.ask_close(worker, disk);
  }
}

void Control::release(const DiskId& disk) {
  auto& placed = placed_.at(disk);
  placed.is_held = false;
  place(placed, random_.chance(0.5) ? placed.worker : other_worker(placed.worker), false);
}

bool Control::is_open(const DiskId& disk) {
  auto& worker = wanted_at(disk);
  auto status = worker.is_running() ? DiskFleet::status_of(worker, disk) : std::nullopt;
  return !placed_.at(disk).move && status && status->state == DiskSeen::open &&
         status->epoch == epoch_of(disk);
}

bool Control::seal(const DiskId& disk) {
  auto& worker = wanted_at(disk);
  auto status = DiskFleet::status_of(worker, disk);
  if (status && status->state == DiskSeen::sealed) return true;
  if (is_due(placed_.at(disk))) fleet_.ask_seal(worker, disk, epoch_of(disk));
  return false;
}

}  // namespace ebb::disk_sim
