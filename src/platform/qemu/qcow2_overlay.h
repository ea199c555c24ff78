// An empty qcow2 image (version 3) that overlays another block node: the throw-away layer over a read-only
// disk.
#pragma once
#include <cstdint>

#include "base/bytes.h"
#include "base/result.h"

namespace ebb::qemu {

// The file's content, for a disk of `disk_bytes` (a multiple of 512, at most 2 TiB). The format is QEMU's
// docs/interop/qcow2.txt. It names no backing file: QEMU is told by its command line.
Result<Bytes> make_qcow2_overlay(std::uint64_t disk_bytes);

}  // namespace ebb::qemu
