// Files of this worker. Real: POSIX on a thread pool. Simulated: in memory, forgetting what was not synced at a power cut.
// Paths are absolute or relative to the process; '/' separates.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "env/task.h"

namespace ebb {

enum class OpenMode {
  read,       // must exist
  read_write, // must exist
  create,     // read and write; made if absent
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

// Holds an exclusive advisory lock until destroyed (also by the process's death).
class FileLock {
 public:
  virtual ~FileLock() = default;
};

class Files {
 public:
  virtual ~Files() = default;
  virtual Task<Result<std::unique_ptr<File>>> open(std::string path, OpenMode mode) = 0;
  virtual Task<Result<Bytes>> read_all(std::string path) = 0;
  // Old or new content after a crash at any point, never a mixture: temporary file, sync, rename, sync of the folder.
  virtual Task<Status> write_atomic(std::string path, Bytes data) = 0;
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
