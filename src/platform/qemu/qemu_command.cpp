#include "platform/qemu/qemu_command.h"

#include <set>

#include "base/bytes.h"
#include "base/json.h"

namespace ebb::qemu {
namespace {

using Args = std::vector<std::string>;

void add(Args& args, std::initializer_list<std::string> more) { args.insert(args.end(), more); }

// A kernel of ours needs no more than a microvm, where its reset is the end of the machine. What firmware boots is a system that
// somebody made for a PC: it may reboot, and is told to end by the power button.
struct Board {
  const char *machine, *tcg_cpu, *bus;  // bus: of virtio devices
  bool may_reboot, has_pci;
};
constexpr Board microvm{"microvm,acpi=on,x-option-roms=off", "qemu64", "device", false, false};
constexpr Board pc{"q35", "Nehalem", "pci", true,
                   true};  // the least CPU that distributions are built for: x86-64-v2

const Board& board_of(const MachineSpec& spec) { return spec.firmware ? pc : microvm; }

// Shared by all: no devices that we did not ask for, system calls fenced.
void add_base(Args& args, const std::string& program, Accel accel, const Board& board) {
  add(args, {program});
  // The translation cache is kept small: it counts for every machine, and guests are small.
  add(args, {"-accel", accel == Accel::kvm ? "kvm" : "tcg,thread=multi,tb-size=32"});
  // arat keeps an idle guest from waking at every tick of an emulated timer.
  add(args, {"-cpu", accel == Accel::kvm ? "host" : fmt::format("{},+arat", board.tcg_cpu)});
  add(args, {"-M", board.machine, "-nodefaults", "-no-user-config", "-display", "none"});
  if (!board.may_reboot) add(args, {"-no-reboot"});
  add(args, {"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"});
}

std::string with_tsc(const std::string& cmdline, std::uint64_t tsc_khz) {
  // A microvm has nothing to calibrate against: without this the kernel hangs in some boots.
  return tsc_khz ? fmt::format("{} tsc_early_khz={}", cmdline, tsc_khz) : cmdline;
}

// The node that a disk of the disk daemon's is.
void add_nbd_node(Args& args, const MachineDisk& disk, std::size_t index, const std::string& node) {
  auto nbd_node = disk.read_only ? fmt::format("image{}", index) : node;
  json::Object nbd{
      {"driver", "nbd"},
      {"node-name", nbd_node},
      {"server", {{"type", "unix"}, {"path", disk.nbd_socket}}},
      {"export", disk.nbd_export},
      {"reconnect-delay",
       300},  // longer than any restart of the disk daemon: a pause for the guest, not an error
      {"open-timeout", 10},
      {"cache", {{"direct", true}}},
      {"discard", "unmap"},
  };
  if (disk.read_only) nbd["read-only"] = true;
  add(args, {"-blockdev", json::to_text(nbd)});
  if (disk.read_only) {
    json::Object overlay{
        {"driver", "qcow2"},
        {"node-name", node},
        {"file", {{"driver", "file"}, {"filename", overlay_name(index)}}},
        {"backing", nbd_node},
        {"cache", {{"no-flush", true}}},  // thrown away with the machine
        {"discard", "unmap"},
    };
    add(args, {"-blockdev", json::to_text(overlay)});
  }
}

// What nobody needs after the machine is not flushed either.
void add_ephemeral_node(Args& args, std::size_t index, const std::string& node) {
  json::Object file{
      {"driver", "raw"},
      {"node-name", node},
      {"file", {{"driver", "file"}, {"filename", ephemeral_name(index)}}},
      {"cache", {{"no-flush", true}}},
      {"discard", "unmap"},
  };
  add(args, {"-blockdev", json::to_text(file)});
}

void add_disk(Args& args, const MachineDisk& disk, std::size_t index, const Board& board) {
  const auto node = disk_node(index);
  if (disk.ephemeral.value_or(false))
    add_ephemeral_node(args, index, node);
  else
    add_nbd_node(args, disk, index, node);
  json::Object device{
      {"driver", fmt::format("virtio-blk-{}", board.bus)},
      {"drive", node},
      {"serial", disk.serial},
      {"discard", true},
      {"write-zeroes", true},
      {"werror", "stop"},
      {"rerror", "stop"},
  };
  if (board.has_pci) device["bootindex"] = index + 1;
  add(args, {"-device", json::to_text(device)});
}

// A read-only FAT file system that QEMU makes of the folder. After the disks: QEMU makes devices in JSON in their order, and
// after all others.
void add_seed(Args& args, const Board& board) {
  json::Object files{{"driver", "vvfat"},
                     {"node-name", "seed"},
                     {"dir", seed_folder_name},
                     {"label", "CIDATA"},
                     {"read-only", true}};
  add(args, {"-blockdev", json::to_text(files)});
  json::Object device{
      {"driver", fmt::format("virtio-blk-{}", board.bus)}, {"drive", "seed"}, {"serial", "cidata"}};
  add(args, {"-device", json::to_text(device)});
}

void add_network(Args& args, const MachineSpec& spec, const std::map<std::string, std::uint16_t>& ports,
                 const Board& board) {
  if (spec.ports.empty()) return;
  // Restricted: a guest must not reach this worker's own services through QEMU. Forwarded ports work all the
  // same.
  std::string netdev = "user,id=net0,restrict=on";
  for (const auto& port : spec.ports) {
    netdev += fmt::format(",hostfwd=tcp:127.0.0.1:{}-:{}", ports.at(port.name), port.guest);
  }
  add(args, {"-netdev", netdev, "-device", fmt::format("virtio-net-{},netdev=net0", board.bus)});
}

// A guest must know what a bridge cannot carry; above the usual size it may decide for itself.
constexpr unsigned int usual_mtu = 1500;

void add_interfaces(Args& args, const std::vector<MachineInterface>& interfaces, const CommandInput& input,
                    const Board& board) {
  for (std::size_t i = 0; i < interfaces.size(); ++i) {
    const auto mtu = i < input.mtus.size() ? input.mtus[i] : usual_mtu;
    add(args,
        {"-netdev", fmt::format("tap,id=lan{},fd={},vhost=off", i, first_tap_fd + static_cast<int>(i))});
    add(args, {"-device", fmt::format("virtio-net-{},netdev=lan{},mac={}{}", board.bus, i, interfaces[i].mac,
                                      mtu < usual_mtu ? fmt::format(",host_mtu={}", mtu) : "")});
  }
}

void add_ports(Args& args, const MachineSpec& spec, const Board& board) {
  add(args, {"-chardev", fmt::format("socket,id=qmp,fd={},server=on,wait=off", qmp_fd), "-mon",
             "chardev=qmp,mode=control"});
  add(args, {"-device", fmt::format("virtio-serial-{}", board.bus)});
  add(args, {"-chardev", fmt::format("socket,id=control,fd={},server=on,wait=off", control_fd)});
  add(args, {"-device", "virtserialport,chardev=control,name=ebb.control"});
  add(args, {"-chardev", fmt::format("socket,id=agent,fd={},server=on,wait=off", guest_agent_fd)});
  add(args, {"-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"});
  for (std::size_t i = 0; i < spec.channels.size(); ++i) {
    const auto& name = spec.channels[i];
    add(args, {"-chardev", fmt::format("file,id=channel{},path={},append=on", i, channel_log_name(name))});
    add(args, {"-device", fmt::format("virtserialport,chardev=channel{},name=ebb.{}", i, name)});
  }
  // A pipe by its name alone: QEMU adds .in and .out. All that is said goes to the log.
  add(args,
      {"-chardev", fmt::format("pipe,id=console,path=console,logfile={},logappend=on", console_log_name),
       "-serial", "chardev:console"});
}

// What the machine comes up with.
void add_boot(Args& args, const MachineSpec& spec, const CommandInput& input) {
  if (!spec.firmware) {
    add(args, {"-kernel", spec.kernel});
    if (!spec.initrd.empty()) add(args, {"-initrd", spec.initrd});
    add(args, {"-append", with_tsc(spec.cmdline, input.tsc_khz)});
  } else if (*spec.firmware == Firmware::uefi) {
    add(args, {"-drive", "if=pflash,unit=0,format=raw,readonly=on,file=" + input.uefi_code});
    add(args, {"-drive", fmt::format("if=pflash,unit=1,format=raw,file={}", uefi_vars_name)});
  }  // else SeaBIOS, which comes with QEMU
}

}  // namespace

std::string disk_node(std::size_t disk_index) { return fmt::format("d{}", disk_index); }
std::string ephemeral_name(std::size_t disk_index) { return fmt::format("ephemeral-{}.raw", disk_index); }
std::string overlay_name(std::size_t disk_index) { return fmt::format("overlay-{}.qcow2", disk_index); }
std::string channel_log_name(const std::string& channel) { return fmt::format("channel-{}.log", channel); }

Args make_command(const MachineSpec& spec, const CommandInput& input) {
  Args args;
  const auto& board = board_of(spec);
  add_base(args, input.program, input.accel, board);
  add(args, {"-name", "ebb-" + spec.vm.value, "-m", fmt::format("{}M", spec.memory_bytes / MiB), "-smp",
             std::to_string(spec.cpus)});
  add_boot(args, spec, input);
  for (std::size_t i = 0; i < spec.disks.size(); ++i) add_disk(args, spec.disks[i], i, board);
  if (!spec.seed.empty()) add_seed(args, board);
  add_ports(args, spec, board);
  add_network(args, spec, input.ports, board);
  if (spec.interfaces) add_interfaces(args, *spec.interfaces, input, board);
  return args;
}

Args make_probe_command(const std::string& program, const std::string& kernel, bool is_elf,
                        std::uint64_t tsc_khz) {
  Args args;
  add_base(args, program, Accel::kvm, is_elf ? microvm : pc);
  if (!is_elf) add(args, {"-no-reboot"});
  add(args, {"-name", "ebb-kvm-probe", "-m", "128M", "-kernel", kernel});
  add(args, {"-append", with_tsc("console=ttyS0 panic=-1 reboot=t", tsc_khz)});
  add(args, {"-chardev", fmt::format("file,id=console,path={},append=on", console_log_name), "-serial",
             "chardev:console"});
  return args;
}

Status check_spec(const MachineSpec& spec) {
  if (!is_valid_name(spec.vm.value)) return fail_field("vm", "'{}' is not a valid VM name", spec.vm);
  if (spec.kernel.empty() && !spec.firmware) return fail_field("kernel", "VM '{}' names no kernel", spec.vm);
  if (spec.disks.empty() && spec.firmware)
    return fail_field("disks", "VM '{}' has nothing to boot from", spec.vm);
  if (spec.memory_bytes < 16 * MiB)
    return fail_field("memory_bytes", "VM '{}' has less than 16 MiB of memory", spec.vm);
  if (spec.cpus < 1 || spec.cpus > 255)
    return fail_field("cpus", "VM '{}' has {} CPUs; 1 to 255 are possible", spec.vm, spec.cpus);
  constexpr std::size_t slots =
      8;  // virtio-mmio transports of a microvm: serial, network, seed, disks; a PC has more
  const std::size_t others = (spec.seed.empty() ? 2 : 3) + (spec.interfaces ? spec.interfaces->size() : 0);
  if (spec.disks.size() + others > slots)
    return fail_field("disks", "VM '{}' has more than {} disks", spec.vm, slots - others);
  std::set<std::string> names;
  for (const auto& channel : spec.channels) {
    if (!is_valid_name(channel) || channel == "control" || !names.insert(channel).second) {
      return fail_field("channels", "'{}' cannot be the name of a channel", channel);
    }
  }
  for (const auto& [name, content] : spec.seed)
    if (!is_valid_name(name)) return fail_field("seed", "'{}' cannot be the name of a file", name);
  names.clear();
  for (const auto& port : spec.ports) {
    if (port.guest == 0 || !names.insert(port.name).second)
      return fail_field("ports", "port '{}' is 0 or named twice", port.name);
  }
  return {};
}

}  // namespace ebb::qemu
