// Files of this machine, by POSIX calls on the loop's threads, and an io_uring for direct files.
#pragma once
#include "env/files.h"
#include "platform/asio_loop.h"
#include "platform/uring.h"

namespace ebb {

class PosixFiles final : public Files {
 public:
  explicit PosixFiles(AsioLoop& loop) : loop_(loop) {}
  // Direct files opened from now on use an io_uring. Fails if the kernel refuses: then they go on using
  // threads.
  Status use_ring();
  Task<Result<std::unique_ptr<File>>> open(std::string path, OpenMode mode) override;
  Task<Result<std::unique_ptr<DirectFile>>> open_direct(std::string path, OpenMode mode) override;
  Task<Result<Bytes>> read_all(std::string path) override;
  Task<Status> write_atomic(std::string path, Bytes data) override;
  Task<Status> rename(std::string from, std::string to) override;
  Task<Status> remove(std::string path) override;
  Task<Status> remove_tree(std::string path) override;
  Task<Result<std::vector<std::string>>> list(std::string path) override;
  Task<Status> make_dirs(std::string path) override;
  Task<Result<std::unique_ptr<FileLock>>> lock(std::string path) override;

 private:
  AsioLoop& loop_;
  std::unique_ptr<Uring> ring_;
};

}  // namespace ebb
