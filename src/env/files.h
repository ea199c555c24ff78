// Files of this worker. Real: POSIX on a thread pool, and an io_uring for direct files. Simulated: in memory,
// forgetting what was not synced at a power cut. Paths are absolute or relative to the process; '/'
// separates.
#pragma once
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "env/task.h"

namespace ebb {

enum class OpenMode {
  read,        // must exist
  read_write,  // must exist
  create,      // read and write; made if absent
};

class File {
 public:
  virtual ~File() = default;
  // Up to `length` bytes from `offset`; shorter only at the end of the file.
  virtual Task<Result<Bytes>> read(std::uint64_t offset, std::size_t length) = 0;
  // All of `data`, handed to the kernel: survives the death of this process, not of the machine.
  virtual Task<Status> write(std::uint64_t offset, Bytes data) = 0;
  // Everything written so far survives a power cut. After a failure nothing may be believed of this file.
  virtual Task<Status> sync() = 0;
  virtual Task<Result<std::uint64_t>> size() = 0;
  virtual Task<Status> resize(std::uint64_t bytes) = 0;
};

// Memory for direct files: aligned, whole blocks, not initialized.
class BlockBuffer final {
 public:
  static constexpr std::size_t block_bytes = 4096;
  static constexpr std::size_t round_up(std::size_t bytes) {
    return (bytes + block_bytes - 1) / block_bytes * block_bytes;
  }

  explicit BlockBuffer(std::size_t capacity)
      : capacity_(round_up(capacity)),
        bytes_(static_cast<std::byte*>(::operator new(capacity_, std::align_val_t(block_bytes)))) {}
  std::size_t capacity() const { return capacity_; }
  MutableBytes first(std::size_t bytes) { return MutableBytes(bytes_.get(), capacity_).first(bytes); }
  ByteView first(std::size_t bytes) const { return ByteView(bytes_.get(), capacity_).first(bytes); }

 private:
  struct Free {
    void operator()(std::byte* bytes) const { ::operator delete(bytes, std::align_val_t(block_bytes)); }
  };
  std::size_t capacity_;
  std::unique_ptr<std::byte, Free> bytes_;
};

// A file that is read and written in whole blocks (offsets and lengths), past the page cache where the file
// system can.
class DirectFile {
 public:
  virtual ~DirectFile() = default;
  // Into the first bytes of `into`; fewer than `length` only at the end of the file.
  virtual Task<Result<std::size_t>> read(std::uint64_t offset, std::shared_ptr<BlockBuffer> into,
                                         std::size_t length) = 0;
  // The first `length` bytes of `data`, which must not change before this ends. Then they survive the death
  // of this process, not of the machine: until a sync any of their sectors of 512 bytes may be lost, also if
  // the process dies while it waits here.
  virtual Task<Status> write(std::uint64_t offset, std::shared_ptr<const BlockBuffer> data,
                             std::size_t length) = 0;
  // Everything written so far survives a power cut. After a failure nothing may be believed of this file.
  virtual Task<Status> sync() = 0;
};

// Holds an exclusive advisory lock until destroyed (also by the process's death).
class FileLock {
 public:
  virtual ~FileLock() = default;
};

class Files {
 public:
  virtual ~Files() = default;
  virtual Task<Result<std::unique_ptr<File>>> open(std::string path, OpenMode mode) = 0;
  virtual Task<Result<std::unique_ptr<DirectFile>>> open_direct(std::string path, OpenMode mode) = 0;
  virtual Task<Result<Bytes>> read_all(std::string path) = 0;
  // Old or new content after a crash at any point, never a mixture: temporary file, sync, rename, sync of the
  // folder.
  virtual Task<Status> write_atomic(std::string path, Bytes data) = 0;
  // Durable: after a crash the file has one of the two names. conflict if there is a file `to`: it is not
  // replaced.
  virtual Task<Status> rename(std::string from, std::string to) = 0;
  // Durable; not_found if it was not there.
  virtual Task<Status> remove(std::string path) = 0;
  // A folder and everything in it; fine if it is not there.
  virtual Task<Status> remove_tree(std::string path) = 0;
  // Names in a folder, sorted, without "." and "..".
  virtual Task<Result<std::vector<std::string>>> list(std::string path) = 0;
  // With parents; fine if it exists. Durable.
  virtual Task<Status> make_dirs(std::string path) = 0;
  // busy if another process holds it.
  virtual Task<Result<std::unique_ptr<FileLock>>> lock(std::string path) = 0;
};

}  // namespace ebb
