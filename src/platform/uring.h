// The io_uring of this process: reads, writes and syncs of files without a thread for each. Completions come
// to the loop by an eventfd.
#pragma once
#include <memory>

#include "base/bytes.h"
#include "base/result.h"
#include "platform/asio_loop.h"

namespace ebb {

class Uring final {
 public:
  // Fails where the kernel, or what confines this process, does not let us.
  static Result<std::unique_ptr<Uring>> make(AsioLoop& loop);
  // Waits for what is under way; nobody is told of it.
  ~Uring();
  Uring(const Uring&) = delete;

  // `keep` owns the memory and the descriptor until the kernel is done with them, however long its caller
  // lives. The result is a count of bytes (perhaps fewer than asked), or an errno below 0.
  Task<int> read(int fd, std::uint64_t offset, MutableBytes into, std::shared_ptr<const void> keep);
  Task<int> write(int fd, std::uint64_t offset, ByteView from, std::shared_ptr<const void> keep);
  Task<int> sync_data(int fd, std::shared_ptr<const void> keep);

 private:
  struct Impl;
  explicit Uring(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace ebb
