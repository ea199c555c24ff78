// What looks for a boot loader on a machine's disks, when nothing else says what to boot.
#pragma once
#include <boost/describe/enum.hpp>

namespace ebb {

enum class Firmware { bios, uefi };
BOOST_DESCRIBE_ENUM(Firmware, bios, uefi)

}  // namespace ebb
