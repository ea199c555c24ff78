// The command line of a machine: a pure function of what it is to be.
#pragma once
#include <string>
#include <vector>

#include "env/hypervisor.h"

namespace ebb::qemu {

enum class Accel { tcg, kvm };
inline const char* to_text(Accel accel) { return accel == Accel::kvm ? "kvm" : "tcg"; }

// Descriptors that QEMU finds open: listening sockets.
inline constexpr int qmp_fd = 3, control_fd = 4, guest_agent_fd = 5;
// And from this one on a TAP device for each network interface.
inline constexpr int first_tap_fd = 6;

struct CommandInput {
  std::string program;
  Accel accel = Accel::tcg;
  std::uint64_t tsc_khz = 0;                   // of the host; 0: not told to the guest
  std::map<std::string, std::uint16_t> ports;  // by name: TCP port on this worker
  std::string uefi_code{};                     // of Firmware::uefi: its file
  std::vector<unsigned int> mtus{};            // of the bridge of each interface, in bytes
};

// File names in it are relative to the machine's folder.
std::vector<std::string> make_command(const MachineSpec& spec, const CommandInput& input);

// A kernel alone, without disks, ports or initrd, that ends by itself: for the KVM probe. `is_elf`: it is a vmlinux, else a bzImage.
std::vector<std::string> make_probe_command(const std::string& program, const std::string& kernel,
                                            bool is_elf, std::uint64_t tsc_khz);

inline constexpr const char* console_log_name = "console.log";
// What is typed comes through one, and what is said goes into the other, which takes everything at once: a guest never waits for a reader.
inline constexpr const char *console_in_name = "console.in", *console_out_name = "console.out";
// The block node that a disk's device uses, as QEMU's monitor knows it.
std::string disk_node(std::size_t disk_index);
std::string overlay_name(std::size_t disk_index);
std::string ephemeral_name(std::size_t disk_index);
inline constexpr const char* seed_folder_name = "seed";
inline constexpr const char* uefi_vars_name = "uefi-vars.fd";
std::string channel_log_name(const std::string& channel);

// Refuses what would not fit a command line or a file name.
Status check_spec(const MachineSpec& spec);

}  // namespace ebb::qemu
