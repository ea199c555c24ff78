// Disk images as people have them: files or addresses, raw or qcow2.
#pragma once
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "env/task.h"

namespace ebb {

struct ImageSource {
  std::string address;          // a path, or an http(s) URL
  std::string sha256;           // what the file must have, as it stands there; empty: anything
  std::uint64_t bytes_max = 0;  // of the disk
};

struct RawDisk {
  std::string path;            // a raw file on this machine
  std::shared_ptr<void> keep;  // what was made on the way to it lives as long as this
};

class DiskImages {
 public:
  virtual ~DiskImages() = default;
  // `doing` a word, `done` of `total` bytes (0: nobody knows how many).
  using Progress = std::function<void(std::string_view doing, std::uint64_t done, std::uint64_t total)>;
  // invalid: the file is not what was asked for, or no image that stands alone; the message says why. Nothing is left behind by a
  // failure.
  virtual Task<Result<RawDisk>> fetch(ImageSource source, Progress progress) = 0;
};

}  // namespace ebb
