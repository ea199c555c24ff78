// Errors of the operating system as ours, and descriptors that close themselves.
#pragma once
#include <cerrno>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.h"

namespace ebb {

// "write /a/b: no space left on device ..."; the code says what the caller may do.
Error os_error(int number, std::string_view doing, std::string_view path);
inline std::unexpected<Error> fail_os(int number, std::string_view doing, std::string_view path) {
  return std::unexpected(os_error(number, doing, path));
}

class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) reset(), fd_ = std::exchange(other.fd_, -1);
    return *this;
  }
  ~UniqueFd() { reset(); }
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }
  explicit operator bool() const { return fd_ >= 0; }
  void reset();

 private:
  int fd_ = -1;
};

}  // namespace ebb
