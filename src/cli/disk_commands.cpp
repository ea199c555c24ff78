// Snapshots, forks and restores, and the log of a disk.
#include "base/text.h"
#include "cli/commands.h"
#include "cli/disk_view.h"
#include "cli/fleet_view.h"

namespace ebb {
namespace {

// `name` is a VM, whose disk is meant, or a disk.
Task<Result<Disk>> find_disk(Context& c, std::string name) {
  auto vm = co_await c.client.vm(VmId(name));
  if (!vm && vm.error().code != Code::not_found) co_return fail(std::move(vm).error());
  auto disk = co_await c.client.disk(DiskId(name));
  if (!disk && disk.error().code != Code::not_found) co_return disk;
  if (vm && vm->vm.disk && disk && disk->id != *vm->vm.disk)
    co_return fail(Code::conflict, "'{}' is a VM and a disk: say {} for the VM's, {} for the other", name,
                   *vm->vm.disk, disk->id);
  if (vm && !vm->vm.disk && !disk) co_return fail(Code::invalid, "'{}' is stateless: it has no disk", name);
  if (vm && vm->vm.disk) disk = co_await c.client.disk(*vm->vm.disk);
  if (!vm && !disk && disk.error().code == Code::not_found)
    co_return fail(Code::not_found, "there is no VM or disk '{}'", name);
  co_return disk;
}

std::function<void(const Error&)> say_silence(Context& c) {
  return [&c](const Error& error) { c.screen().say(error.message + "; trying on"); };
}

// Asks until `done`, and tells what it waits for, each reason once.
Task<Result<Disk>> wait_for_disk(Context& c, DiskId id, std::function<bool(const Disk&)> done,
                                 Duration limit) {
  const auto give_up_at = c.env.loop.now() + limit;
  std::string told;
  std::function<Task<Result<Disk>>()> ask = [&] { return c.client.disk(id); };
  while (true) {
    EBB_CO_TRY(disk, co_await ask_patiently(c, ask, say_silence(c)));
    if (done(disk)) co_return disk;
    if (auto why = co_await c.client.why_disk(id);
        why && !why->reasons.empty() && why->reasons[0].text != told) {
      told = why->reasons[0].text;
      c.screen().say(told);
    }
    if (c.env.loop.now() >= give_up_at) {
      co_return fail(Code::internal, "not done after {}; 'ebb why disks/{}' tells more",
                     format_duration(limit), id);
    }
    co_await sleep_for(c.env.loop, poll_interval);
  }
}

// Until the guest that runs with the disk, if one does, sees all of it.
Task<Status> wait_for_guest(Context& c, Disk disk, Instant give_up_at) {
  std::string told;
  std::function<Task<Result<VmView>>()> ask = [&] { return c.client.vm(*disk.vm); };
  while (disk.vm) {
    auto answer = co_await ask_patiently(c, ask, say_silence(c));
    if (!answer && answer.error().code == Code::not_found) co_return Status{};
    if (!answer) co_return fail(std::move(answer).error());
    const auto& view = *answer;
    // An agent that is older than these sizes tells of none.
    const bool is_untold = view.seen == VmSeen::running && !view.disk_sizes;
    if (!view.vm.worker || is_untold) co_return Status{};
    const auto sizes = view.disk_sizes.value_or(std::map<std::string, std::uint64_t>());
    const auto found = sizes.find(disk.id.value);
    if (found != sizes.end() && found->second >= disk.size_bytes) co_return Status{};
    auto text = fmt::format("waiting for the guest of {}{}", view.vm.id,
                            view.waiting_for.empty() ? "" : ": " + view.waiting_for[0].text);
    if (text != told) c.screen().say(text);
    told = std::move(text);
    if (c.env.loop.now() >= give_up_at)
      co_return fail(Code::internal,
                     "the disk has grown, and the guest of {} does not see it yet: 'ebb why disks/{}'",
                     view.vm.id, disk.id);
    co_await sleep_for(c.env.loop, poll_interval);
  }
  co_return Status{};
}

Result<DiskOrigin> parse_origin(const std::string& text) {
  auto at = text.find('@');
  if (at == 0 || at == std::string::npos || at + 1 == text.size())
    return fail(Code::invalid, "'{}' must be DISK@SNAPSHOT, or VM@SNAPSHOT", text);
  return DiskOrigin{DiskId(text.substr(0, at)), text.substr(at + 1)};
}

}  // namespace

Task<Result<DiskOrigin>> find_origin(Context& c, std::string text) {
  EBB_CO_TRY(origin, parse_origin(text));
  EBB_CO_TRY(disk, co_await find_disk(c, origin.disk.value));
  co_return DiskOrigin{disk.id, origin.snapshot};
}

// ---- by hand

Task<Result<Exit>> create_disk(Context& c, DiskOptions options) {
  if (!options.from.empty()) {
    EBB_CO_TRY(origin, co_await find_origin(c, options.from));
    options.wish.from = std::move(origin);
  }
  // Asked again it is the same disk.
  std::function<Task<Result<Disk>>()> ask = [&] { return c.client.create_disk(options.wish); };
  EBB_CO_TRY(now, co_await ask_patiently(c, ask, say_silence(c)));
  if (options.wait) {
    c.farewell = fmt::format("ebb: interrupted; the disk is made all the same: 'ebb why disks/{}'", now.id);
    auto is_made = [](const Disk& d) { return d.state != DiskState::creating; };
    EBB_CO_TRY(reached, co_await wait_for_disk(c, now.id, is_made, options.wait_limit));
    now = std::move(reached);
  }
  c.show(now, disks_table({now}, c.now()));
  co_return Exit::ok;
}

Task<Result<Exit>> attach_disk(Context& c, DiskOptions options) {
  EBB_CO_TRY(now, co_await c.client.attach_disk(DiskId(options.disk), options.vm));
  c.show(now, disks_table({now}, c.now()));
  co_return Exit::ok;
}

Task<Result<Exit>> detach_disk(Context& c, DiskOptions options) {
  EBB_CO_TRY(now, co_await c.client.detach_disk(DiskId(options.disk)));
  c.show(now, disks_table({now}, c.now()));
  co_return Exit::ok;
}

Task<Result<Exit>> resize_disk(Context& c, DiskOptions options) {
  EBB_CO_TRY(disk, co_await find_disk(c, options.disk));
  EBB_CO_TRY(now, co_await c.client.grow_disk(disk.id, options.size_bytes));
  if (options.wait) {
    const auto give_up_at = c.env.loop.now() + options.wait_limit;
    c.farewell = fmt::format("ebb: interrupted; the disk grows all the same: 'ebb why disks/{}'", disk.id);
    auto is_grown = [](const Disk& d) { return !d.growth; };
    EBB_CO_TRY(reached, co_await wait_for_disk(c, disk.id, is_grown, options.wait_limit));
    now = std::move(reached);
    if (now.size_bytes < options.size_bytes)
      co_return fail(Code::internal, "the disk was not grown: 'ebb events' tells why; nothing was changed");
    EBB_CO_CHECKED(co_await wait_for_guest(c, now, give_up_at));
  }
  c.show(now, disks_table({now}, c.now()));
  co_return Exit::ok;
}

Task<Result<Exit>> remove_disk(Context& c, DiskOptions options) {
  EBB_CO_TRY(disk, co_await c.client.disk(DiskId(options.disk)));
  EBB_CO_CHECKED(co_await c.client.remove_disk(disk.id, options.at_once));
  auto now = co_await c.client.disk(disk.id);
  const bool is_kept = now && now->removal && now->state == DiskState::ready;
  c.screen().say(
      is_kept ? fmt::format("disk {0} is removed; for a while 'ebb disk keep {0}' brings it back", disk.id)
              : fmt::format("disk {} is being removed", disk.id));
  c.show_removed("disks/" + disk.id.value);
  co_return Exit::ok;
}

Task<Result<Exit>> keep_disk(Context& c, DiskOptions options) {
  KeepDisk wish;
  if (!options.name.empty()) wish.name = options.name;
  EBB_CO_TRY(now, co_await c.client.keep_disk(DiskId(options.disk), wish));
  c.show(now, disks_table({now}, c.now()));
  co_return Exit::ok;
}

// ---- snapshots

Task<Result<Exit>> take_snapshot(Context& c, SnapshotOptions options) {
  EBB_CO_TRY(disk, co_await find_disk(c, options.subject));
  // An id of our own: if the answer is lost, asking again finds the same snapshot.
  CreateSnapshot wish{options.name, "cli-" + c.env.loop.random().token(16)};
  std::function<Task<Result<Disk>>()> ask = [&] { return c.client.create_snapshot(disk.id, wish); };
  EBB_CO_TRY(now, co_await ask_patiently(c, ask, say_silence(c)));
  if (options.wait) {
    c.farewell = fmt::format("ebb: interrupted; the snapshot goes on: 'ebb snapshots {}'", disk.id);
    auto is_decided = [name = options.name](const Disk& d) {
      const auto* s = d.find_snapshot(name);
      return !s || s->state != SnapshotState::wanted;
    };
    EBB_CO_TRY(reached, co_await wait_for_disk(c, disk.id, is_decided, options.wait_limit));
    now = std::move(reached);
    const auto* made = now.find_snapshot(options.name);
    if (!made) co_return fail(Code::conflict, "snapshot '{}' was removed meanwhile", options.name);
    if (made->state == SnapshotState::failed)
      co_return fail(Code::internal, "snapshot '{}' was not taken: {}", options.name, made->error);
  }
  c.show(now, snapshots_table(now, c.now()));
  co_return Exit::ok;
}

Task<Result<Exit>> list_snapshots(Context& c, std::string subject) {
  EBB_CO_TRY(disk, co_await find_disk(c, std::move(subject)));
  c.show(disk, snapshots_table(disk, c.now()));
  co_return Exit::ok;
}

Task<Result<Exit>> remove_snapshot(Context& c, SnapshotOptions options) {
  EBB_CO_TRY(disk, co_await find_disk(c, options.subject));
  EBB_CO_TRY(now, co_await c.client.remove_snapshot(disk.id, options.name));
  if (options.wait) {
    auto is_gone = [name = options.name](const Disk& d) { return !d.find_snapshot(name); };
    EBB_CO_TRY(reached, co_await wait_for_disk(c, disk.id, is_gone, options.wait_limit));
    now = std::move(reached);
  }
  c.show(now, snapshots_table(now, c.now()));
  co_return Exit::ok;
}

// A VM like the one that the disk belongs to, or that its origin belongs to, but with a fork as its disk.
Task<Result<Exit>> fork_vm(Context& c, ForkOptions options) {
  EBB_CO_TRY(origin, co_await find_origin(c, options.origin));
  EBB_CO_TRY(disk, co_await c.client.disk(origin.disk));
  if (!disk.vm && disk.origin) {
    auto whole = co_await c.client.disk(disk.origin->disk);
    if (whole) disk.vm = whole->vm;
  }
  if (!disk.vm)
    co_return fail(Code::conflict,
                   "disk '{}' belongs to no VM that could be copied: use ebb run --disk-from {}", disk.id,
                   options.origin);
  EBB_CO_TRY(like, co_await c.client.vm(*disk.vm));
  const bool is_its_own = like.vm.disk == disk.id || (disk.origin && like.vm.disk == disk.origin->disk);
  if (!is_its_own)
    co_return fail(Code::conflict,
                   "disk '{}' is attached to VM '{}', and not its own: ebb disks create NAME --from {}",
                   disk.id, like.vm.id, options.origin);
  RunOptions run;
  run.spec = like.vm.spec, run.spec.disk_from = origin;
  // On the same networks, and there under addresses of its own.
  if (run.spec.networks)
    for (auto& join : *run.spec.networks) join.address.reset(), join.mac.reset();
  run.wait = options.wait, run.wait_limit = options.wait_limit;
  co_return co_await make_vms(c, options.names, std::move(run));
}

Task<Result<Exit>> restore_disk(Context& c, RestoreOptions options) {
  EBB_CO_TRY(disk, co_await find_disk(c, options.subject));
  EBB_CO_TRY(plan, co_await c.client.plan_restore(disk.id, options.snapshot));
  if (options.plan_only) {
    c.show(plan, restore_plan_text(plan, c.now()));
    co_return plan.blockers.empty() ? Exit::ok : Exit::blocked;
  }
  EBB_CO_TRY(now, co_await c.client.restore_disk(disk.id, options.snapshot));
  c.screen().say(restore_plan_text(plan, c.now()));
  if (options.wait) {
    c.farewell = fmt::format("ebb: interrupted; the restore goes on: 'ebb why disks/{}'", disk.id);
    EBB_CO_TRY(reached, co_await wait_for_disk(
                            c, disk.id, [](const Disk& d) { return !d.restore; }, options.wait_limit));
    now = std::move(reached);
    if (!now.find_snapshot(plan.keep_as))
      co_return fail(Code::internal, "the restore was refused: 'ebb events' tells why; nothing was changed");
  }
  c.show(now, snapshots_table(now, c.now()));
  co_return Exit::ok;
}

Task<Result<Exit>> show_disk_log(Context& c, std::string subject) {
  EBB_CO_TRY(disk, co_await find_disk(c, std::move(subject)));
  EBB_CO_TRY(log, co_await c.client.disk_log(disk.id));
  c.show(log, disk_log_table(log, c.now()));
  co_return Exit::ok;
}

}  // namespace ebb
