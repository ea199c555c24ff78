// The guest's network interfaces.
#pragma once

namespace ebb::guest {

// The one that its ports are forwarded to, and those of the networks that its VM has joined, as the kernel's command line tells.
void start_network();

// All of them down. A reset under traffic in flight makes some kernels (seen: Debian's 6.1.0-57) spin in virtio-net for ever:
// they reset the device first, and then wait for what it was sending.
void stop_network();

}  // namespace ebb::guest
