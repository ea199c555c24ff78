// A file that looks like a kernel.
#pragma once
#include <cstring>
#include <string>

#include "base/bytes.h"

namespace ebb {

// An ELF with one loadable segment of `segment_bytes` behind its headers.
inline std::string kernel_of(std::uint64_t segment_bytes) {
  Bytes elf(64 + 56 + segment_bytes);
  std::memcpy(elf.data(),
              "\x7f"
              "ELF\x02\x01\x01",
              7);
  store_le<std::uint16_t>(elf, 18, 62);  // x86-64
  store_le<std::uint64_t>(elf, 32, 64);  // program headers follow the header
  store_le<std::uint16_t>(elf, 54, 56);
  store_le<std::uint16_t>(elf, 56, 1);
  store_le<std::uint32_t>(elf, 64, 1);    // PT_LOAD
  store_le<std::uint64_t>(elf, 72, 120);  // at
  store_le<std::uint64_t>(elf, 96, segment_bytes);
  return std::string(as_text(elf));
}

}  // namespace ebb
