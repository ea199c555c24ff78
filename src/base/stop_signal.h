// How a guest is asked to stop, before its grace ends.
#pragma once
#include <boost/describe/enum.hpp>

namespace ebb {

enum class StopSignal {
  automatic,     // `stop` on the port ebb.control to a guest that listens there, or else the power button
  power_button,  // ACPI's, pressed again and again: a boot loader does not heed it
  guest_agent,   // guest-shutdown of QEMU's guest agent; as `automatic`, if none answers
};
BOOST_DESCRIBE_ENUM(StopSignal, automatic, power_button, guest_agent)

}  // namespace ebb
