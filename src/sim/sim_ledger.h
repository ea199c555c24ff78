// What the outside world saw of the guests: which record each VM was told is durable, by which copy, and when
// copies ran. The ledger decides what is a violation: a lost or altered record, a second writer, an I/O error
// in a guest.
#pragma once
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/id.h"
#include "sim/sim_world.h"

namespace ebb::sim {

// One record of a guest's log: its number, and the boot that wrote it.
struct GuestRecord {
  std::uint64_t number = 0;  // from 1, without gaps
  std::uint64_t boot = 0;    // distinct for each boot of any machine
  bool operator==(const GuestRecord&) const = default;
};

// A copy of a VM from boot to end, on one worker.
struct GuestRun {
  VmId vm;
  std::uint64_t boot = 0, epoch = 0;
  std::string worker;
  Instant from{};
  std::optional<Instant> to;
  std::uint64_t acknowledged = 0;  // records it was told are durable
  std::optional<Instant> first_acknowledged, last_acknowledged;
  std::uint64_t recovered = 0;  // records it found when it booted
};

class GuestLedger final {
 public:
  explicit GuestLedger(SimWorld& world) : world_(world) {}

  // Called when a copy has begun to run.
  void on_begin(std::function<void(const VmId&)> callback) { on_begin_ = std::move(callback); }
  // A copy begins to run; the number of its boot.
  std::uint64_t begin(VmId vm, std::uint64_t epoch, std::string worker);
  void end(std::uint64_t boot);
  // `number` is durable, says the disk to this boot.
  void acknowledge(std::uint64_t boot, std::uint64_t number);
  // What this boot found on its disk and flushed: from here on no older copy may have anything made durable.
  void recovered(std::uint64_t boot, const std::vector<GuestRecord>& found);
  void io_error(std::uint64_t boot, const Error& error);

  // `worker` was declared dead: so many records of `vm` that it had not sent may be lost (the bound announced
  // for class local), as the next owner elsewhere finds.
  void allow_loss(const VmId& vm, std::string worker, std::uint64_t records) {
    loss_allowed_[vm][std::move(worker)] = records;
  }

  // `vm` was removed: another one may come under its name, and what its copies say counts no more.
  void forget(const VmId& vm);

  std::uint64_t durable(const VmId& vm) const;
  const std::vector<GuestRun>& runs() const { return runs_; }
  // Runs of `vm` that have not ended.
  std::vector<const GuestRun*> running(const VmId& vm) const;
  std::uint64_t hash() const;

 private:
  GuestRun& run(std::uint64_t boot) { return runs_.at(boot - 1); }
  bool is_forgotten(const GuestRun& run) const;

  SimWorld& world_;
  std::function<void(const VmId&)> on_begin_;
  std::vector<GuestRun> runs_;  // by boot, from 1
  struct Durable {
    std::vector<GuestRecord> records;  // acknowledged or recovered, in order
    std::uint64_t epoch = 0;           // of the newest copy that read or acknowledged
    std::uint64_t boot = 0;
  };
  static bool is_overtaken(const GuestRun& run, const Durable& durable);
  std::map<VmId, Durable> durable_;
  std::map<VmId, std::uint64_t> forgotten_;  // up to which boot
  std::uint64_t take_allowed_loss(const GuestRun& finder);
  std::map<VmId, std::map<std::string, std::uint64_t>> loss_allowed_;  // by the worker that was declared dead
};

}  // namespace ebb::sim
