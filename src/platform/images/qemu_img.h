// qcow2 files, through qemu-img.
#pragma once
#include <functional>
#include <string>

#include "base/result.h"
#include "platform/images/progress.h"

namespace ebb::images {

struct Qcow2 {
  std::string path;             // absolute: qemu-img takes `a:b` for an address, and `-a` for an option
  std::string name;             // for people: where it came from
  std::uint64_t bytes_max = 0;  // of the disk that it is
};

// Whether the file begins as a qcow2 image does. It is not guessed any further: what a raw disk holds, its guest has written.
Result<bool> is_qcow2(const std::string& path);

// Blocks. A sparse raw file of whole blocks of 4096 bytes. invalid: the image needs another file (a backing file, a data file),
// is encrypted, truncated, damaged, or larger than a disk can be; unavailable: qemu-img is not installed, or has no room to write.
Status convert_qcow2(const Qcow2& image, const std::string& to, const Progress& progress);

}  // namespace ebb::images
