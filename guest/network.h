// The guest's network interfaces.
#pragma once

namespace ebb::guest {

// The one that its ports are forwarded to, and those of the networks that its VM has joined, as the kernel's command line tells.
void start_network();

}  // namespace ebb::guest
