#include "disk/rescuer.h"

#include "disk/orphaned_log.h"

namespace ebb::disk {
namespace {
constexpr Duration pause = 200ms;

bool passes(Code code) { return code == Code::unavailable || code == Code::busy; }

// Asks until the disk is in that state, or will not get there.
template <class Ask>
Task<Status> drive(Loop& loop, DiskSeen wanted, Ask ask) {
  for (;; co_await sleep_for(loop, pause)) {
    auto status = co_await ask();
    if (status && status->state == wanted) co_return Status{};
    if (!status && !passes(status.error().code)) co_return fail(std::move(status).error());
  }
}

}  // namespace

Rescuer::Rescuer(Loop& loop, const DaemonOptions& options, Logger log)
    : loop_(loop), options_(options), log_(std::move(log)), turns_(loop), scope_(loop) {}

Task<Result<DiskStatus>> Rescuer::rescue(ServedDisk* from, ServedDisk* into, RescueLog wish) {
  auto& slot = under_way_[wish.into];
  if (!slot) {
    slot = std::make_shared<UnderWay>(loop_);
    scope_.spawn(run(from, into, wish, slot));
  }
  auto self = slot;
  for (auto until = loop_.now() + options_.reply_within; !self->result && loop_.now() < until;)
    co_await self->ended.wait_for(until - loop_.now());
  if (self->result) {
    if (auto told = under_way_.find(wish.into); told != under_way_.end() && told->second == self)
      under_way_.erase(told);
    co_return *self->result;
  }
  const auto waits = into->is_known() ? into->status().waiting_for : std::string();
  co_return fail(Code::unavailable, "the log of '{}' is being written into '{}': {}{}", wish.disk, wish.into,
                 self->stage, waits.empty() ? "" : "; " + waits);
}

Task<void> Rescuer::run(ServedDisk* from, ServedDisk* into, RescueLog wish, std::shared_ptr<UnderWay> self) {
  self->stage = "waits for another to end";
  auto turn = co_await turns_.lock();
  auto done = co_await carry_out(from, into, wish, self.get());
  auto closed = co_await into->close();
  if (done)
    log_.info("{}: what its log held beyond the take-over is in '{}'", wish.disk, wish.into);
  else
    log_.warning("{}: its log could not be written into '{}': {}", wish.disk, wish.into, done.error());
  self->result = done ? std::move(closed) : Result<DiskStatus>(fail(done.error()));
  self->ended.notify_all();
}

Task<Status> Rescuer::carry_out(ServedDisk* from, ServedDisk* into, RescueLog wish, UnderWay* self) {
  self->stage = "reading the log";
  EBB_CO_TRY(rest, co_await from->orphaned_rest(wish.log_id, wish.into));
  if (!rest) co_return co_await check_is_written(into, wish);
  self->stage = "opening it";
  OpenDisk open{wish.into, wish.pool, wish.epoch, wish.disk_class, false, false, {}};
  EBB_CO_CHECKED(
      co_await drive(loop_, DiskSeen::open, [&] { return into->open(open, ServedDisk::Start::for_rescue); }));
  self->stage = fmt::format("{} records", rest->size());
  auto device = into->device();
  if (!device) co_return fail(Code::unavailable, "'{}' was closed", wish.into);
  EBB_CO_CHECKED(co_await write_records(loop_, std::move(device), std::move(*rest)));
  self->stage = "sealing it";
  EBB_CO_CHECKED(co_await drive(loop_, DiskSeen::sealed, [&] { return into->seal(wish.epoch); }));
  EBB_CO_CHECKED(co_await check_is_written(into, wish));
  co_return co_await from->remove_orphan(wish.log_id);
}

// Only when all of the log has been written is the disk ever left cleanly under that epoch.
Task<Status> Rescuer::check_is_written(ServedDisk* into, RescueLog wish) {
  EBB_CO_TRY(head, co_await into->head_now());
  if (head.state == HeadState::detached_clean && head.epoch.placement == wish.epoch) co_return Status{};
  co_return fail(Code::not_found, "'{}' is {} in epoch {}, and there is no log '{}' of disk '{}' here",
                 wish.into, json::name_of(head.state), head.epoch.text(), wish.log_id, wish.disk);
}

}  // namespace ebb::disk
