// Files of this machine, by POSIX calls on the loop's threads.
#pragma once
#include "env/files.h"
#include "platform/asio_loop.h"

namespace ebb {

class PosixFiles final : public Files {
 public:
  explicit PosixFiles(AsioLoop& loop) : loop_(loop) {}
  Task<Result<std::unique_ptr<File>>> open(std::string path, OpenMode mode) override;
  Task<Result<Bytes>> read_all(std::string path) override;
  Task<Status> write_atomic(std::string path, Bytes data) override;
  Task<Status> remove(std::string path) override;
  Task<Status> remove_tree(std::string path) override;
  Task<Result<std::vector<std::string>>> list(std::string path) override;
  Task<Status> make_dirs(std::string path) override;
  Task<Result<std::unique_ptr<FileLock>>> lock(std::string path) override;

 private:
  AsioLoop& loop_;
};

}  // namespace ebb
