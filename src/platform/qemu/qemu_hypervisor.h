// Machines as QEMU processes that are nobody's children: they outlive this process, and a new one finds them
// again.
#pragma once
#include <functional>
#include <memory>

#include "base/log.h"
#include "env/hypervisor.h"
#include "platform/asio_loop.h"

namespace ebb {

struct QemuOptions {
  std::string state_dir;  // machines/, logs/ and kvm-probe/ are below it
  std::string program = "qemu-system-x86_64";
  std::string user = "nobody";  // whom machines run as, if we are root; else they run as we do
  std::uint64_t tsc_khz = 0;    // of this host; 0: not told to guests
  bool may_use_kvm = true;
  Duration ready_without_word =
      30s;  // a guest that never speaks on its control port counts as ready after this
  std::uint64_t log_bytes_max =
      1024 * 1024;  // of each console and channel log, and once more for an older one
  // UEFI's code, and the variables that a new machine begins with: the first pair that is there (Debian: package ovmf).
  std::vector<std::pair<std::string, std::string>> uefi_files{
      {"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"},
      {"/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"}};
  // Where forwarded ports come from: find_free_port, unless a test has other ideas.
  std::function<Result<std::uint16_t>()> find_port;
};

// A TCP port of the loopback address that was free a moment ago.
Result<std::uint16_t> find_free_port();

// Machines that run already are found at the first call: it must come after the caller has locked the folder.
// Fails if the folder cannot be used or the user does not exist; QEMU itself may be missing until a machine
// is started.
Result<std::unique_ptr<Hypervisor>> make_qemu_hypervisor(AsioLoop& loop, Logger log, QemuOptions options);

}  // namespace ebb
