#include "boot.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <initializer_list>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "port.h"

namespace ebb::guest {
namespace {

void load_module(const std::string& name) {
  const int fd = open(("/modules/" + name + ".ko").c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) != 0 && errno != EEXIST)) complain("load " + name);
  if (fd >= 0) close(fd);
}

void load_modules(std::initializer_list<const char*> names) {
  for (const char* name : names) load_module(name);
}

}  // namespace

void complain(const std::string& what) {
  std::fprintf(stderr, "init: %s: %s\n", what.c_str(), std::strerror(errno));
}

void mount_system() {
  struct Mount {
    const char* type;
    const char* at;
  };
  for (const auto& [type, at] : {Mount{"devtmpfs", "/dev"}, Mount{"proc", "/proc"}, Mount{"sysfs", "/sys"}}) {
    if (mount(type, at, type, MS_NOSUID | MS_NOEXEC, nullptr) != 0 && errno != EBUSY) complain(at);
  }
}

// A microvm has its devices at addresses of their own; a PC has them on its PCI bus.
void load_bus() {
  load_modules({"virtio_ring", "virtio"});
  std::error_code error;
  const std::filesystem::directory_iterator on_pci("/sys/bus/pci/devices", error);
  if (on_pci == std::filesystem::directory_iterator())
    load_modules({"virtio_mmio"});
  else
    load_modules({"virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci"});
}

bool has_device(VirtioDevice kind) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/sys/bus/virtio/devices", error)) {
    const auto id = read_small_file(entry.path() / "device");
    if (id && std::strtol(id->c_str(), nullptr, 16) == static_cast<long>(kind)) return true;
  }
  return false;
}

void load_driver(VirtioDevice kind) {
  switch (kind) {
    case VirtioDevice::network:
      return load_modules({"failover", "net_failover", "virtio_net"});
    case VirtioDevice::disk:
      return load_modules({"virtio_blk"});
    case VirtioDevice::serial:
      return load_modules({"virtio_console"});
  }
}

DiskState mount_disk(std::string& why) {
  if (access("/dev/vda", F_OK) != 0) return DiskState::absent;
  const auto device = "/dev/" + kernel_option("witness.disk", "vda");
  if (mount(device.c_str(), "/data", "ext4", MS_NOATIME, nullptr) == 0) return DiskState::mounted;
  why = std::string("mount: ") + std::strerror(errno);
  return DiskState::failed;
}

void unmount_disk() {
  if (umount2("/data", 0) != 0 && errno != EINVAL) complain("unmount /data");
}

void tell_seed() {
  if (access("/dev/vdb1", F_OK) != 0) return;
  load_modules({"nls_cp437", "nls_ascii", "fat", "vfat"});
  if (mount("/dev/vdb1", "/seed", "vfat", MS_RDONLY, "iocharset=ascii") != 0) return complain("mount /seed");
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/seed", error))
    std::fprintf(stderr, "seed: %s: %s\n", entry.path().filename().c_str(),
                 read_small_file(entry.path()).value_or("").c_str());
  umount2("/seed", 0);
}

std::string disk_serial() { return read_small_file("/sys/block/vda/serial").value_or(""); }

std::string wait_for_port(const char* name, int wait_ms_max) {
  for (int waited_ms = 0; waited_ms <= wait_ms_max; ++waited_ms) {
    if (const auto path = find_port(name)) return *path;
    const timespec one_ms{0, 1'000'000};
    nanosleep(&one_ms, nullptr);
  }
  return "";
}

std::string kernel_option(const std::string& name, const std::string& otherwise) {
  const std::string line = " " + read_small_file("/proc/cmdline").value_or("") + " ";
  const std::size_t at = line.find(" " + name + "=");
  if (at == std::string::npos) return otherwise;
  const std::size_t value = at + name.size() + 2;
  return line.substr(value, line.find(' ', value) - value);
}

}  // namespace ebb::guest
