// Process 1 of the guest.
#pragma once

namespace ebb::guest {

// Boots the machine, runs the witness, serves the host; ends with the machine.
[[noreturn]] void run_init();

}  // namespace ebb::guest
