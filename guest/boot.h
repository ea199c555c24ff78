// The steps from kernel to a guest with disk, network and ports. Each does only what the devices found call
// for.
#pragma once
#include <string>

namespace ebb::guest {

enum class VirtioDevice { network = 1, disk = 2, serial = 3 };

enum class DiskState { absent, mounted, failed };

// /dev, /proc and /sys.
void mount_system();

// The driver of the virtio bus; afterwards has_device() knows what the machine has.
void load_bus();
bool has_device(VirtioDevice kind);
void load_driver(VirtioDevice kind);

// /dev/vda at /data; the kernel replays its journal. `why` says what failed.
DiskState mount_disk(std::string& why);
void unmount_disk();

// What the host says about this guest, if it gave it a seed (/dev/vdb1, as cloud-init would look for it): to the console.
void tell_seed();

// The serial number the host gave the disk, or an empty text.
std::string disk_serial();

// Ports appear a moment after their driver; absent when none of that name comes within the time.
std::string wait_for_port(const char* name, int wait_ms_max);

// The value of `name=` on the kernel's command line, or `otherwise`.
std::string kernel_option(const std::string& name, const std::string& otherwise);

// A line on the console.
void complain(const std::string& what);

}  // namespace ebb::guest
