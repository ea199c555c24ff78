// Looks at the files of an image before a byte is uploaded: is the kernel whole, is the disk as large as its
// file system.
#pragma once
#include <functional>
#include <string>

#include "base/bytes.h"
#include "base/result.h"
#include "env/files.h"

namespace ebb {

struct ImageFile {
  std::unique_ptr<File> file;
  std::string path;
  std::uint64_t size_bytes = 0;
  std::string sha256;  // lower-case hex, once hash_image_file has run
};

// Opens `path`; an absent or empty file is `invalid`.
Task<Result<ImageFile>> open_image_file(Files& files, std::string path);

// An x86-64 ELF (System V ABI, figure 4-3 and 5-1) whose program headers and the segments they name lie in
// the file.
Task<Status> check_kernel(ImageFile& kernel);

// A whole number of 4 KiB blocks, and no smaller than what its ext2/3/4 superblock says, if it has one.
Task<Status> check_raw_disk(ImageFile& disk);
// What firmware must find on it: a boot sector, and a whole table of partitions if there is one.
Task<Status> check_boots_by_itself(ImageFile& disk);

// Reads all of it; `on_bytes` gets how many bytes each step took.
Task<Status> hash_image_file(ImageFile& file, std::function<void(std::uint64_t)> on_bytes);

}  // namespace ebb
