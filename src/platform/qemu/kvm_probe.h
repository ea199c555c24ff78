// Whether this machine's KVM boots a guest. Decided by booting one: a /dev/kvm that opens proves nothing.
// Booted once a boot of the host, at the first machine's start; the answer is kept in the state folder.
#pragma once
#include "base/log.h"
#include "env/scope.h"
#include "platform/asio_loop.h"
#include "platform/qemu/process.h"
#include "platform/qemu/qemu_command.h"

namespace ebb::qemu {

class KvmProbe final {
 public:
  struct Settings {
    std::string folder;  // for the probe's files
    std::string boot_id;
    std::optional<RunAs> run_as;
    std::uint64_t tsc_khz = 0;
    Duration limit = 8s;
    std::string device = "/dev/kvm";
    std::string
        host_kernel{};  // for callers without one; empty: none was found, and they are not served by KVM
  };
  KvmProbe(AsioLoop& loop, Logger log, Settings settings);
  KvmProbe(const KvmProbe&) = delete;
  ~KvmProbe();

  // How to run a machine now. The first caller's kernel is the one that is probed, or this host's own if it has none; all wait for
  // that one probe. That the host's kernel does not boot says nothing of others'.
  Task<Accel> decide(std::string program, std::string kernel);
  // Until a machine has been started nobody knows: then KVM is hoped for.
  bool may_be_kvm() const { return decided_ != Accel::tcg; }
  // "kvm works", or why not; empty while undecided.
  const std::string& explanation() const { return explanation_; }

 private:
  Task<void> probe(std::string program, std::string kernel);
  Result<std::string> copy_host_kernel() const;
  Task<Result<void>> boot_guest(std::string program, std::string kernel);
  bool device_is_usable();
  void load();
  void conclude(Accel accel, std::string why);
  void end_leftover();

  AsioLoop& loop_;
  Logger log_;
  Settings settings_;
  std::optional<Accel> decided_;
  std::string explanation_;
  bool probing_ = false;
  Notify concluded_;
  Scope scope_;
};

}  // namespace ebb::qemu
