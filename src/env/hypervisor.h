// Running VMs on this worker, as the agent sees it. Real: QEMU processes that are nobody's children;
// simulated: guests in virtual time that write through the simulated disk daemon.
#pragma once
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/firmware.h"
#include "base/id.h"
#include "base/result.h"
#include "base/stop_signal.h"
#include "base/time.h"
#include "env/task.h"

namespace ebb {

struct MachineDisk {
  std::string serial{};      // what the guest sees as its serial number
  std::string nbd_socket{};  // unix socket path of the disk daemon
  std::string nbd_export{};
  bool read_only = false;  // an image: the machine gets a throw-away overlay over it
  std::uint64_t bytes = 0;
  std::optional<bool>
      ephemeral{};  // of nobody's: empty, on this worker's own disk, and thrown away with the machine
};

struct MachinePort {
  std::string name;
  std::uint16_t guest = 0;  // TCP port in the guest
};

// A network interface of the machine beside the one for its ports.
struct MachineInterface {
  std::string mac;
  std::string bridge;  // of this worker
};

// Everything needed to boot a machine; kept beside the machine, so that a restarted agent knows what it
// adopted.
struct MachineSpec {
  VmId vm;
  std::uint64_t epoch = 0;             // placement epoch under which it runs
  std::optional<Firmware> firmware{};  // boots the first disk; absent: the kernel is loaded
  std::string kernel, initrd;          // paths on this worker
  std::string cmdline;
  std::uint32_t cpus = 1;
  std::uint64_t memory_bytes = 0;
  std::vector<MachineDisk> disks;
  std::vector<MachinePort> ports;
  std::vector<std::string> channels;  // names of extra virtio-serial ports, logged to a bounded file each
  std::map<std::string, std::string>
      seed{};  // a read-only file system `cidata` with these files; empty: none
  std::optional<std::vector<MachineInterface>> interfaces{};
};

enum class MachineState {
  booting,  // process started, guest not heard of yet
  ready,    // guest said that it is up (or has no control port and has run for a while)
  paused,   // QEMU stopped the vCPUs (disk error, or we asked)
  exited,   // process gone
};

struct MachineStatus {
  VmId vm;
  std::uint64_t epoch = 0;
  MachineState state = MachineState::booting;
  std::map<std::string, std::uint16_t> ports;  // by name: TCP port on this worker
  std::string guest_agent{};                   // where its guest's agent is reached; one caller at a time
  std::string accel;                           // "kvm" or "tcg"
  std::string error;                           // why it exited or is paused, if that is a fault
  bool is_held = false;                        // paused by pause()
  // Of one that has exited:
  bool was_stopped = false;                    // by stop(), and its guest had named no status of its own
  std::optional<std::uint32_t> exit_status{};  // what its guest named, or 0 if it powered itself off
  std::string last_words{};                    // the end of its console, in printable ASCII
};

// Where to read on in what a console has said: at a position (bytes since the VM first spoke here under its epoch), with the
// last so many lines, or with the first byte that is kept.
struct ConsoleFrom {
  std::optional<std::uint64_t> position{};
  std::optional<std::uint32_t> lines{};
};
struct ConsolePiece {
  std::uint64_t position =
      0;  // of its first byte: later than asked for, if what was there is not kept any more
  std::string bytes;
  std::uint64_t log_end = 0;  // as of now
};

// How a guest is brought to its end.
struct StopWish {
  Duration grace{};  // for all of it; then it is killed. Nobody asks a guest that has none
  StopSignal signal = StopSignal::automatic;
  // With `guest_agent`: asks it. Called once the stop is on record, so that an end which follows does not count as the guest's
  // own. One that is not gone at half of the grace is asked in the automatic way.
  std::function<Task<Status>()> ask_guest_agent{};
};

class Hypervisor {
 public:
  virtual ~Hypervisor() = default;
  // Whether this worker has what boots such a machine; the error says what to install.
  virtual Status can_boot(std::optional<Firmware> firmware) const = 0;
  // CPU features that guests get here, by the names of a guest's /proc/cpuinfo, sorted.
  virtual std::vector<std::string> cpu_features() const = 0;
  // Whether this worker has such a bridge; the error says how to make it.
  virtual Status has_bridge(const std::string& name) const = 0;
  // Ends when the machine's process runs (state booting). conflict if that VM has a machine here already.
  // Fails with a reason that names what is missing (QEMU, kernel file, memory).
  virtual Task<Result<MachineStatus>> start(MachineSpec spec) = 0;
  // Asks the guest to stop, waits for the grace, then kills. Ends when the process is gone; fine if it was gone before. Returns
  // whether the guest stopped by itself.
  virtual Task<Result<bool>> stop(VmId vm, StopWish wish) = 0;
  // Stops the vCPUs at once, keeps the process (a fenced worker must not run on). Holds until resume(), also
  // after a restart of the agent.
  virtual Task<Status> pause(VmId vm) = 0;
  // Lets a machine run on that pause() holds; does nothing to one that runs.
  virtual Task<Status> resume(VmId vm) = 0;
  // A disk, by its serial number, has grown where it is served: its guest sees it so from now on. unavailable: not yet, ask again.
  // The same again does nothing.
  virtual Task<Status> resize_disk(VmId vm, std::string serial, std::uint64_t bytes) = 0;
  // All machines of this worker, also those started before this agent process; exited ones until forget().
  virtual Task<Result<std::vector<MachineStatus>>> list() = 0;
  // Removes what is left of an exited machine.
  virtual Task<Status> forget(VmId vm) = 0;
  // What the VM's console said here under that epoch, machine after machine, also when they are gone; at most `bytes_max` of
  // it, and nothing when there is no more yet. The last few MiB are kept. not_found: there was no such machine here, or it
  // was long ago.
  virtual Task<Result<ConsolePiece>> read_console(VmId vm, std::uint64_t epoch, ConsoleFrom from,
                                                  std::size_t bytes_max) = 0;
  // As if it were typed on a terminal there. How many of the bytes were taken; the guest reads them when it likes.
  virtual Task<Result<std::size_t>> type_at_console(VmId vm, std::string bytes) = 0;
  // Called (on the loop) when some machine may have changed its state.
  virtual void on_change(std::function<void()> callback) = 0;
};

}  // namespace ebb
