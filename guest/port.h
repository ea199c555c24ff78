// A named virtio-serial port, opened so that no read or write ever waits for the host.
#pragma once
#include <fcntl.h>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <unistd.h>

namespace ebb::guest {

inline std::optional<std::string> read_small_file(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return std::nullopt;
  char buffer[4096];
  const ssize_t size = read(fd, buffer, sizeof buffer);
  close(fd);
  if (size < 0) return std::nullopt;
  std::string text(buffer, static_cast<std::size_t>(size));
  while (!text.empty() && (text.back() == '\n' || text.back() == '\0')) text.pop_back();
  return text;
}

// The device node of the port that the host calls `name`. Without udev there is no /dev/virtio-ports.
inline std::optional<std::string> find_port(std::string_view name) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/sys/class/virtio-ports", error)) {
    if (read_small_file(entry.path() / "name") == name) return "/dev/" + entry.path().filename().string();
  }
  return std::nullopt;
}

// A blocking write to a port spins in the kernel until the host has read, so blocking mode is never used.
inline int open_port(const std::string& path, int mode) {
  return open(path.c_str(), mode | O_NONBLOCK | O_CLOEXEC);
}

}  // namespace ebb::guest
