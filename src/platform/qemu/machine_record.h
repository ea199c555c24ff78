// What stands about a machine in its folder, and the small synchronous file calls that this needs. Nothing
// here is synced: a machine does not outlive a power cut, so its record need not.
//
//   <state>/machines/<vm>/machine.json   MachineRecord, written before the process starts
//                         process        /proc/PID/stat of the process, written by itself before it becomes
//                         end.json       MachineEnd, once there is something to say
//                         seed/          what its guest finds in the file system `cidata`
//                         QEMU qmp.sock control.sock agent.sock console.in console.out overlay-N.qcow2 ephemeral-N.raw qemu.log console.log
//                         channel-NAME.log, and of each log one older NAME.1, and in NAME.cut how much was written before
//   <state>/logs/<vm>.<epoch>.<wall ms>/ the logs of machines that are gone, the latest few
#pragma once
#include <string>

#include "base/json.h"
#include "env/hypervisor.h"

namespace ebb {
BOOST_DESCRIBE_STRUCT(MachineDisk, (), (serial, nbd_socket, nbd_export, read_only, bytes, ephemeral))
BOOST_DESCRIBE_STRUCT(MachinePort, (), (name, guest))
BOOST_DESCRIBE_STRUCT(MachineInterface, (), (mac, bridge))
// Without the seed, which lies beside it in its folder.
BOOST_DESCRIBE_STRUCT(MachineSpec, (),
                      (vm, epoch, firmware, kernel, initrd, cmdline, cpus, memory_bytes, disks, ports,
                       channels, interfaces))
}  // namespace ebb

namespace ebb::qemu {

inline constexpr std::uint32_t record_format = 1;

struct MachineRecord {
  std::uint32_t format = record_format;
  MachineSpec spec;
  std::map<std::string, std::uint16_t> ports;
  std::string accel;
  std::string boot_id;  // of the host: processes of an earlier boot are gone
  bool ready = false;   // the guest has said once that it is up
  bool paused = false;  // by us
};
BOOST_DESCRIBE_STRUCT(MachineRecord, (), (format, spec, ports, accel, boot_id, ready, paused))

// How it ends, in a file of its own: agents that do not know of it must be able to read the record.
struct MachineEnd {
  bool stop_asked = false;  // by us
  std::optional<std::uint32_t> exit_status{},
      named_status{};  // how its guest ended; what the guest itself said
};
BOOST_DESCRIBE_STRUCT(MachineEnd, (), (stop_asked, exit_status, named_status))

Status save_record(const std::string& folder, const MachineRecord& record);
Result<MachineRecord> load_record(const std::string& folder);
Status save_end(const std::string& folder, const MachineEnd& end);
// Nothing, if nothing can be read.
MachineEnd load_end(const std::string& folder);

// At most 1 MiB; not_found if there is none.
Result<std::string> read_small_file(const std::string& path);
// Old or new content after a crash of this process.
Status write_small_file(const std::string& path, std::string_view text);
// The last lines of a file, for an error message.
std::string last_words(const std::string& path);
// The same of what a guest wrote: whole lines, without what a terminal would obey.
std::string last_guest_words(const std::string& path);

}  // namespace ebb::qemu
