// What a VM's runner says to the disk daemon, and what it makes of its answers.
#include "agent/vm_runner.h"
#include "base/checksum.h"

namespace ebb::agent {
namespace {

constexpr Duration ask_pause_first = 5ms, ask_pause_max = 200ms, daemon_down_pause = 500ms;

bool is_reached(DiskSeen state, bool open, bool standby) {
  switch (state) {
    case DiskSeen::open:
    case DiskSeen::reading:
      return open;
    case DiskSeen::standby:
      return standby;
    case DiskSeen::sealed:
      return !open && !standby;
    case DiskSeen::opening:
    case DiskSeen::sealing:
    case DiskSeen::fenced:
    case DiskSeen::failed:
      return false;
  }
  return false;
}

bool may_pass(Code code) { return code == Code::unavailable || code == Code::busy; }

}  // namespace

// A virtio disk's serial number has 20 bytes.
std::string VmRunner::serial_of(const DiskId& id) {
  constexpr std::size_t bytes_max = 20, kept = 11;
  if (id.value.size() <= bytes_max) return id.value;
  return fmt::format("{}-{:08x}", id.value.substr(0, kept), crc32c(as_bytes(id.value)));
}

bool VmRunner::is_too_small(const DiskStatus& status, const WantedDisk& disk) {
  return status.state == DiskSeen::open && status.size_bytes < disk.size_bytes;
}

Task<Result<DiskStatus>> VmRunner::ask_daemon(Verb verb, WantedVm wish, WantedDisk disk) {
  auto epoch = disk_epoch(wish, disk);
  switch (verb) {
    case Verb::open:
      return t_.disks->open(
          {disk.id, disk.pool, epoch, disk.disk_class, disk.read_only, disk.take_over, disk.cuts});
    case Verb::grow:
      return t_.disks->resize({disk.id, disk.pool, epoch, disk.size_bytes});
    case Verb::standby:
      return t_.disks->standby({disk.id, disk.pool, epoch});
    case Verb::seal:
      return t_.disks->seal({disk.id, disk.pool, epoch});
  }
  check_failed(__FILE__, __LINE__, "a verb");
}

// Asks until the disk is where the verb leads, or cannot get there. What passes is waited for, visibly. Ends
// with `conflict` when the wish has changed meanwhile.
Task<Result<DiskStatus>> VmRunner::drive(Verb verb, WantedVm wish, WantedDisk disk) {
  auto version = version_;
  for (Duration pause = ask_pause_first;; pause = std::min(pause * 2, ask_pause_max)) {
    auto status = co_await ask_daemon(verb, wish, disk);
    if (!is_current(version)) co_return fail(Code::conflict, "something else is wanted now");
    if (status &&
        is_reached(status->state, verb == Verb::open || verb == Verb::grow, verb == Verb::standby)) {
      if (!seen_.error.empty()) enter(seen_.state);
      co_return status;
    }
    if (status && status->state == DiskSeen::fenced)
      co_return fail(Code::fenced, "disk '{}' has a newer owner", disk.id);
    if (status && status->state == DiskSeen::failed)
      co_return fail(Code::unavailable, "disk '{}': {}", disk.id, status->error);
    if (!status && !may_pass(status.error().code)) co_return status;
    auto waiting = status
                       ? fmt::format("disk '{}': {}", disk.id,
                                     status->waiting_for.empty() ? std::string(json::name_of(status->state))
                                                                 : status->waiting_for)
                       : status.error().message;
    if (waiting != seen_.error) enter(seen_.state, std::move(waiting));
    co_await sleep_for(*t_.loop, t_.disks->is_up() ? pause : daemon_down_pause);
  }
}

// The disk daemon opens again by itself what it had open; this is for one that has lost its memory.
Task<Status> VmRunner::keep_disks_open(WantedVm wish) {
  if (!t_.disks->is_up()) co_return fail(Code::unavailable, "the disk daemon does not answer");
  Status status;
  for (const auto& disk : wish.disks) {
    const auto* known = t_.disks->find(disk.id);
    bool is_right = known && known->epoch == disk_epoch(wish, disk) &&
                    (known->state == DiskSeen::open || known->state == DiskSeen::reading ||
                     known->state == DiskSeen::opening);
    if (is_right) continue;
    auto opened = co_await ask_daemon(Verb::open, wish, disk);
    if (!opened && opened.error().code == Code::fenced) {
      fenced_epoch_ = wish.epoch;
      co_await kill_fenced();
    }
    if (!opened) status = fail(std::move(opened).error());
  }
  co_return status;
}

// What is wanted larger than it is grows, and the guest of a machine that runs sees it.
Task<Status> VmRunner::grow_disks(WantedVm wish) {
  auto version = version_;
  for (const auto& disk : wish.disks) {
    const auto known = machine_sizes_.find(disk.id);
    if (disk.read_only || (known != machine_sizes_.end() && known->second >= disk.size_bytes)) continue;
    if (const auto* seen = t_.disks->find(disk.id); seen && is_too_small(*seen, disk))
      EBB_CO_CHECKED(co_await ask_daemon(Verb::grow, wish, disk));
    if (!is_current(version)) co_return Status{};
    const auto* status = t_.disks->find(disk.id);
    const bool is_settled = status && status->size_bytes >= disk.size_bytes && status->waiting_for.empty();
    if (!is_settled)
      continue;  // it is being opened, or its store is silent: not a time to ask QEMU to look at it
    const auto size = status->size_bytes;
    auto told = co_await t_.hypervisor->resize_disk(wish.vm, serial_of(disk.id), size);
    if (!told) co_return fail(std::move(told).error().within(fmt::format("disk '{}' grows", disk.id)));
    machine_sizes_[disk.id] = size;
    t_.changed();
  }
  co_return Status{};
}

// So that whoever stands by has what the guest uses now before it has stopped. Nothing waits for it.
Task<void> VmRunner::leave_hints(WantedVm wish) {
  for (const auto& disk : wish.disks)
    if (!disk.read_only) (void)co_await t_.disks->hint({disk.id, disk.pool, disk_epoch(wish, disk)});
}

// Nothing of the disks stays here, and nothing that a guest was told to be safe is lost.
Task<Status> VmRunner::release_disks(WantedVm wish) {
  if (wish.disks.empty()) co_return Status{};
  auto version = version_;
  EBB_CO_CHECKED(co_await t_.disks->refresh());
  for (const auto& disk : wish.disks) {
    if (disk.read_only && t_.is_used_by_others(wish.vm, disk.id)) continue;
    EBB_CO_CHECKED(co_await seal_and_close(wish, disk));
    if (!is_current(version)) co_return Status{};
  }
  t_.used_disks();
  co_return Status{};
}

Task<Status> VmRunner::seal_and_close(WantedVm wish, WantedDisk disk) {
  auto version = version_;
  const auto* status = t_.disks->find(disk.id);
  // What was never opened here, or is known to be owned by nobody here, has nothing to flush. A disk that the
  // daemon does not know may still be ours by HEAD: the daemon looks.
  bool owns_nothing =
      disk.read_only || (status && (status->state == DiskSeen::standby || status->state == DiskSeen::sealed ||
                                    status->state == DiskSeen::fenced || status->state == DiskSeen::reading));
  if (!owns_nothing && fenced_epoch_ != wish.epoch) {
    auto sealed = co_await drive(Verb::seal, wish, disk);
    if (!is_current(version)) co_return Status{};
    // Somebody else's, deleted, or in a pool that this worker does not have: nothing of ours.
    auto code = sealed ? Code::internal : sealed.error().code;
    bool is_not_ours =
        code == Code::fenced || code == Code::conflict || code == Code::not_found || code == Code::invalid;
    if (!sealed && !is_not_ours) co_return fail(std::move(sealed).error());
  }
  auto closed = co_await t_.disks->close({disk.id, disk.pool, disk_epoch(wish, disk)});
  if (!closed && closed.error().code == Code::invalid) co_return Status{};
  co_return closed;
}

void VmRunner::look_at_disks() {
  look_at_isolation();
  bool is_fenced = false, is_news = false;
  std::string waits;
  for (const auto& disk : wish_.disks) {
    const auto* status = t_.disks->find(disk.id);
    if (status && !status->waiting_for.empty())
      waits = fmt::format("disk '{}' waits: {}", disk.id, status->waiting_for);
    is_fenced |=
        status && status->state == DiskSeen::fenced && status->epoch == wish_.epoch && !disk.read_only;
    is_news |= wish_.wanted == Wanted::running && seen_.machine &&
               !(status && is_reached(status->state, true, false));
  }
  is_news |= waits != disk_waits_;
  disk_waits_ = std::move(waits);
  if (is_fenced && fenced_epoch_ != wish_.epoch && wish_.wanted != Wanted::standby) {
    fenced_epoch_ = wish_.epoch;
    scope_.spawn(kill_fenced());
  } else if (is_news && t_.disks->is_up()) {
    look();
  }
}

}  // namespace ebb::agent
