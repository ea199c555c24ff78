// Lines over a unix socket that the other side serves: QEMU's monitor, and the guest's control port.
#pragma once
#include <string>
#include <vector>

#include "platform/asio_loop.h"
#include "platform/os_error.h"

namespace ebb::qemu {

// A listening socket to hand to QEMU: clients may connect before QEMU is up. Replaces what is at the path.
Result<UniqueFd> listen_unix(const std::string& path);

class LineSocket final {
 public:
  static Result<std::unique_ptr<LineSocket>> connect(AsioLoop& loop, const std::string& path);
  LineSocket(AsioLoop& loop, UniqueFd fd) : watch_(loop, fd.release()) {}

  // Never waits: a socket that cannot take a few bytes has nobody behind it that reads.
  Status send(std::string_view text);
  // False once closed by us.
  Task<bool> readable() { return watch_.readable(); }
  // The whole lines that have come, without their ends; never waits.
  std::vector<std::string> take_lines();
  // The other side has closed.
  bool ended() const { return ended_; }

 private:
  static constexpr std::size_t line_bytes_max = 256 * 1024;
  FdWatch watch_;
  std::string partial_;
  bool ended_ = false;
};

}  // namespace ebb::qemu
