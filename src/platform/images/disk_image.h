// Disk images from files and the web, made raw by qemu-img where they are qcow2.
#pragma once
#include "env/disk_images.h"
#include "env/loop.h"
#include "env/offload.h"

namespace ebb {

class DiskImageFetcher final : public DiskImages {
 public:
  // `folder`: for what is downloaded and converted, which may be as large as a disk's data.
  DiskImageFetcher(Loop& loop, Offload& threads, std::string folder)
      : loop_(loop), threads_(threads), folder_(std::move(folder)) {}
  Task<Result<RawDisk>> fetch(ImageSource source, Progress progress) override;

 private:
  Loop& loop_;
  Offload& threads_;
  std::string folder_;
};

}  // namespace ebb
