#include "platform/qemu/qemu_command.h"

#include <set>

#include "base/bytes.h"
#include "base/json.h"

namespace ebb::qemu {
namespace {

using Args = std::vector<std::string>;

void add(Args& args, std::initializer_list<std::string> more) { args.insert(args.end(), more); }

// Shared by all: no devices that we did not ask for, system calls fenced, a reset is the end.
void add_base(Args& args, const std::string& program, Accel accel) {
  add(args, {program});
  // The translation cache is kept small: it counts for every machine, and guests are small.
  add(args, {"-accel", accel == Accel::kvm ? "kvm" : "tcg,thread=multi,tb-size=32"});
  // arat keeps an idle guest from waking at every tick of an emulated timer.
  add(args, {"-cpu", accel == Accel::kvm ? "host" : "qemu64,+arat"});
  add(args, {"-M", "microvm,acpi=on,x-option-roms=off", "-nodefaults", "-no-user-config", "-display", "none",
             "-no-reboot"});
  add(args, {"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"});
}

std::string with_tsc(const std::string& cmdline, std::uint64_t tsc_khz) {
  // A microvm has nothing to calibrate against: without this the kernel hangs in some boots.
  return tsc_khz ? fmt::format("{} tsc_early_khz={}", cmdline, tsc_khz) : cmdline;
}

void add_disk(Args& args, const MachineDisk& disk, std::size_t index) {
  auto node = fmt::format("d{}", index);
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
  json::Object device{
      {"driver", "virtio-blk-device"}, {"drive", node},    {"serial", disk.serial}, {"discard", true},
      {"write-zeroes", true},          {"werror", "stop"}, {"rerror", "stop"},
  };
  add(args, {"-device", json::to_text(device)});
}

void add_network(Args& args, const MachineSpec& spec, const std::map<std::string, std::uint16_t>& ports) {
  if (spec.ports.empty()) return;
  // Restricted: a guest must not reach this worker's own services through QEMU. Forwarded ports work all the
  // same.
  std::string netdev = "user,id=net0,restrict=on";
  for (const auto& port : spec.ports) {
    netdev += fmt::format(",hostfwd=tcp:127.0.0.1:{}-:{}", ports.at(port.name), port.guest);
  }
  add(args, {"-netdev", netdev, "-device", "virtio-net-device,netdev=net0"});
}

void add_ports(Args& args, const MachineSpec& spec) {
  add(args, {"-chardev", fmt::format("socket,id=qmp,fd={},server=on,wait=off", qmp_fd), "-mon",
             "chardev=qmp,mode=control"});
  add(args, {"-device", "virtio-serial-device"});
  add(args, {"-chardev", fmt::format("socket,id=control,fd={},server=on,wait=off", control_fd)});
  add(args, {"-device", "virtserialport,chardev=control,name=ebb.control"});
  for (std::size_t i = 0; i < spec.channels.size(); ++i) {
    const auto& name = spec.channels[i];
    add(args, {"-chardev", fmt::format("file,id=channel{},path={},append=on", i, channel_log_name(name))});
    add(args, {"-device", fmt::format("virtserialport,chardev=channel{},name=ebb.{}", i, name)});
  }
  add(args, {"-chardev", "file,id=console,path=console.log,append=on", "-serial", "chardev:console"});
}

}  // namespace

std::string overlay_name(std::size_t disk_index) { return fmt::format("overlay-{}.qcow2", disk_index); }
std::string channel_log_name(const std::string& channel) { return fmt::format("channel-{}.log", channel); }

Args make_command(const MachineSpec& spec, const CommandInput& input) {
  Args args;
  add_base(args, input.program, input.accel);
  add(args, {"-name", "ebb-" + spec.vm.value, "-m", fmt::format("{}M", spec.memory_bytes / MiB), "-smp",
             std::to_string(spec.cpus)});
  add(args, {"-kernel", spec.kernel});
  if (!spec.initrd.empty()) add(args, {"-initrd", spec.initrd});
  add(args, {"-append", with_tsc(spec.cmdline, input.tsc_khz)});
  for (std::size_t i = 0; i < spec.disks.size(); ++i) add_disk(args, spec.disks[i], i);
  add_ports(args, spec);
  add_network(args, spec, input.ports);
  return args;
}

Args make_probe_command(const std::string& program, const std::string& kernel, std::uint64_t tsc_khz) {
  Args args;
  add_base(args, program, Accel::kvm);
  add(args, {"-name", "ebb-kvm-probe", "-m", "128M", "-kernel", kernel});
  add(args, {"-append", with_tsc("console=ttyS0 panic=-1 reboot=t", tsc_khz)});
  add(args, {"-chardev", "file,id=console,path=console.log,append=on", "-serial", "chardev:console"});
  return args;
}

Status check_spec(const MachineSpec& spec) {
  if (!is_valid_name(spec.vm.value)) return fail_field("vm", "'{}' is not a valid VM name", spec.vm);
  if (spec.kernel.empty()) return fail_field("kernel", "VM '{}' names no kernel", spec.vm);
  if (spec.memory_bytes < 16 * MiB)
    return fail_field("memory_bytes", "VM '{}' has less than 16 MiB of memory", spec.vm);
  if (spec.cpus < 1 || spec.cpus > 255)
    return fail_field("cpus", "VM '{}' has {} CPUs; 1 to 255 are possible", spec.vm, spec.cpus);
  constexpr std::size_t slots = 8;  // virtio-mmio transports of a microvm: serial, network, disks
  if (spec.disks.size() + 2 > slots)
    return fail_field("disks", "VM '{}' has more than {} disks", spec.vm, slots - 2);
  std::set<std::string> names;
  for (const auto& channel : spec.channels) {
    if (!is_valid_name(channel) || channel == "control" || !names.insert(channel).second) {
      return fail_field("channels", "'{}' cannot be the name of a channel", channel);
    }
  }
  names.clear();
  for (const auto& port : spec.ports) {
    if (port.guest == 0 || !names.insert(port.name).second)
      return fail_field("ports", "port '{}' is 0 or named twice", port.name);
  }
  return {};
}

}  // namespace ebb::qemu
