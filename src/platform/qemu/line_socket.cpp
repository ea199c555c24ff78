#include "platform/qemu/line_socket.h"

#include <cstring>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace ebb::qemu {
namespace {

// Socket addresses hold 107 characters. A longer path is named through a descriptor of its folder.
struct Address {
  sockaddr_un address{};
  UniqueFd folder;

  static Result<Address> of(const std::string& path) {
    Address result;
    result.address.sun_family = AF_UNIX;
    std::string name = path;
    if (name.size() >= sizeof result.address.sun_path) {
      auto slash = path.rfind('/');
      result.folder = UniqueFd(open(path.substr(0, slash).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
      if (!result.folder) return fail_os(errno, "open", path.substr(0, slash));
      name = fmt::format("/proc/self/fd/{}/{}", result.folder.get(), path.substr(slash + 1));
    }
    std::memcpy(result.address.sun_path, name.c_str(), name.size() + 1);
    return result;
  }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&address); }
};

}  // namespace

Result<UniqueFd> listen_unix(const std::string& path) {
  unlink(path.c_str());
  EBB_TRY(address, Address::of(path));
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd || bind(fd.get(), address.get(), sizeof(sockaddr_un)) != 0 || listen(fd.get(), 4) != 0) {
    return fail_os(errno, "listen on", path);
  }
  return fd;
}

Result<std::unique_ptr<LineSocket>> LineSocket::connect(AsioLoop& loop, const std::string& path) {
  EBB_TRY(address, Address::of(path));
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd || ::connect(fd.get(), address.get(), sizeof(sockaddr_un)) != 0)
    return fail_os(errno, "connect to", path);
  return std::make_unique<LineSocket>(loop, std::move(fd));
}

Status LineSocket::send(std::string_view text) {
  auto sent = ::send(watch_.fd(), text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent != static_cast<ssize_t>(text.size()))
    return fail(Code::unavailable, "the machine does not listen");
  return {};
}

std::vector<std::string> LineSocket::take_lines() {
  std::vector<std::string> lines;
  char buffer[4096];
  for (std::size_t taken = 0;;) {
    auto size = recv(watch_.fd(), buffer, sizeof buffer, MSG_DONTWAIT);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) break;
    if (size <= 0) {
      ended_ = true;
      break;
    }
    for (char c : std::string_view(buffer, static_cast<std::size_t>(size))) {
      if (c == '\n') {
        if (!partial_.empty() && partial_.back() == '\r') partial_.pop_back();
        lines.push_back(std::exchange(partial_, {}));
      } else if (partial_.size() < line_bytes_max) {
        partial_ += c;
      }
    }
    taken += static_cast<std::size_t>(size);
    if (lines.size() > 1000 || taken > line_bytes_max) break;  // the rest at the next turn of the loop
  }
  return lines;
}

}  // namespace ebb::qemu
