// TAP devices: a machine's end of a network interface, whose other end is a port of a bridge of this host.
#pragma once
#include "platform/os_error.h"

namespace ebb::qemu {

// Whether the host has a bridge of that name that is up; the error says how to make one.
Status check_bridge(const std::string& name);
// Whether this process may make TAP devices at all (it needs /dev/net/tun and CAP_NET_ADMIN): makes one, and drops it.
Status check_may_make_taps();

struct Tap {
  UniqueFd fd;
  unsigned int mtu = 0;  // the bridge's, in bytes
};
// A new TAP device, up and a port of `bridge`, for the interface that its guest sees as `guest_mac`. It lasts as long as somebody
// holds the descriptor: once that is QEMU alone, it goes with the machine. With virtio-net headers (linux/if_tun.h: IFF_VNET_HDR).
Result<Tap> open_tap(const std::string& bridge, const std::string& guest_mac);

}  // namespace ebb::qemu
