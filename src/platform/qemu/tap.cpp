#include "platform/qemu/tap.h"

#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

namespace ebb::qemu {
namespace {

constexpr const char* tap_device = "/dev/net/tun";

Result<UniqueFd> control_socket() {
  UniqueFd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd) return fail_os(errno, "open", "a socket");
  return fd;
}

Result<ifreq> request_for(const std::string& name) {
  ifreq request{};
  if (name.empty() || name.size() >= sizeof request.ifr_name)
    return fail(Code::invalid, "'{}' is no name of a network device: 1 to {} characters", name,
                sizeof request.ifr_name - 1);
  std::memcpy(request.ifr_name, name.data(), name.size());
  return request;
}

// A bridge takes the smallest MTU of its ports for itself, so a new port has to have the bridge's. Returns that.
Result<unsigned int> take_mtu_of(int control, const std::string& bridge, const std::string& tap) {
  EBB_TRY(of_bridge, request_for(bridge));
  EBB_TRY(of_tap, request_for(tap));
  if (ioctl(control, SIOCGIFMTU, &of_bridge) != 0) return fail_os(errno, "read the MTU of", bridge);
  of_tap.ifr_mtu = of_bridge.ifr_mtu;
  if (ioctl(control, SIOCSIFMTU, &of_tap) != 0) return fail_os(errno, "set the MTU of", tap);
  return static_cast<unsigned int>(of_bridge.ifr_mtu);
}

// A bridge has the lowest MAC address of its ports, unless it was given one: a device must not become that, or the host itself would
// be somebody else for a while whenever a machine comes or goes. The guest's with the highest first byte there is for that.
Status set_high_mac(int control, const std::string& tap, const std::string& guest_mac) {
  EBB_TRY(request, request_for(tap));
  request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
  unsigned int bytes[6]{};
  if (std::sscanf(guest_mac.c_str(), "%x:%x:%x:%x:%x:%x", &bytes[0], &bytes[1], &bytes[2], &bytes[3],
                  &bytes[4], &bytes[5]) != 6)
    return fail(Code::invalid, "'{}' is no MAC address", guest_mac);
  bytes[0] = 0xfe;
  for (int i = 0; i < 6; ++i) request.ifr_hwaddr.sa_data[i] = static_cast<char>(bytes[i]);
  if (ioctl(control, SIOCSIFHWADDR, &request) != 0) return fail_os(errno, "set the MAC address of", tap);
  return {};
}

struct NewTap {
  UniqueFd fd;
  std::string name;
};
Result<NewTap> make_tap() {
  NewTap tap{UniqueFd(open(tap_device, O_RDWR | O_NONBLOCK | O_CLOEXEC)), {}};
  if (!tap.fd) return fail_os(errno, "open", tap_device);
  EBB_TRY(request, request_for("ebb%d"));  // the kernel finds a free number
  request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
  if (ioctl(tap.fd.get(), TUNSETIFF, &request) != 0)
    return fail_os(errno, "make a TAP device with", tap_device);
  tap.name = request.ifr_name;
  return tap;
}

Status add_port(int control, const std::string& bridge, const std::string& tap) {
  EBB_TRY(request, request_for(bridge));
  request.ifr_ifindex = static_cast<int>(if_nametoindex(tap.c_str()));
  if (ioctl(control, SIOCBRADDIF, &request) != 0) return fail_os(errno, "add a port to", bridge);
  return {};
}

Status bring_up(int control, const std::string& tap) {
  EBB_TRY(request, request_for(tap));
  if (ioctl(control, SIOCGIFFLAGS, &request) != 0) return fail_os(errno, "read the flags of", tap);
  request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP);
  if (ioctl(control, SIOCSIFFLAGS, &request) != 0) return fail_os(errno, "bring up", tap);
  return {};
}

// The host has no business on it: not even router solicitations.
void keep_host_off(const std::string& tap) {
  const auto path = fmt::format("/proc/sys/net/ipv6/conf/{}/disable_ipv6", tap);
  UniqueFd file(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (file) (void)!write(file.get(), "1", 1);  // no such file: the host has no IPv6
}

}  // namespace

Status check_bridge(const std::string& name) {
  EBB_TRY(control, control_socket());
  EBB_TRY(request, request_for(name));
  ethtool_drvinfo info{};
  info.cmd = ETHTOOL_GDRVINFO;
  request.ifr_data = reinterpret_cast<char*>(&info);
  const bool is_there = ioctl(control.get(), SIOCETHTOOL, &request) == 0;
  const bool is_bridge = is_there && std::string_view(info.driver) == "bridge";
  if (!is_bridge && (is_there || if_nametoindex(name.c_str()) != 0))
    return fail(Code::invalid, "network device {} of this host is no bridge", name);
  if (!is_bridge)
    return fail(Code::unavailable, "this host has no bridge {0}: ip link add {0} type bridge forward_delay 0",
                name);
  EBB_TRY(flags, request_for(name));
  if (ioctl(control.get(), SIOCGIFFLAGS, &flags) != 0) return fail_os(errno, "read the flags of", name);
  if ((flags.ifr_flags & IFF_UP) == 0)
    return fail(Code::unavailable, "bridge {0} is down: ip link set {0} up", name);
  return {};
}

Status check_may_make_taps() {
  EBB_TRY(tap, make_tap());
  return {};
}

Result<Tap> open_tap(const std::string& bridge, const std::string& guest_mac) {
  EBB_CHECKED(check_bridge(bridge));
  EBB_TRY(control, control_socket());
  EBB_TRY(tap, make_tap());
  keep_host_off(tap.name);
  EBB_CHECKED(set_high_mac(control.get(), tap.name, guest_mac));
  EBB_TRY(mtu, take_mtu_of(control.get(), bridge, tap.name));
  EBB_CHECKED(add_port(control.get(), bridge, tap.name));
  EBB_CHECKED(bring_up(control.get(), tap.name));
  return Tap{std::move(tap.fd), mtu};
}

}  // namespace ebb::qemu
