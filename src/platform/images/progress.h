#pragma once
#include <cstdint>
#include <functional>

namespace ebb::images {

// How far it is: bytes, and how many there are, 0 if nobody says. Asked also when nothing has happened. False: end it.
using Progress = std::function<bool(std::uint64_t done, std::uint64_t total)>;

}  // namespace ebb::images
