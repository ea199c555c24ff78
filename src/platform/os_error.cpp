#include "platform/os_error.h"

#include <system_error>
#include <unistd.h>

namespace ebb {
namespace {
Code code_of(int number) {
  switch (number) {
    case ENOENT:
      return Code::not_found;
    case EEXIST:
    case ENOTEMPTY:
      return Code::conflict;
    case ENOSPC:
    case EDQUOT:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case EAGAIN:
    case EBUSY:
    case EADDRINUSE:
      return Code::busy;
    case EACCES:
    case EPERM:
    case EROFS:
    case EISDIR:
    case ENOTDIR:
    case ENAMETOOLONG:
    case EINVAL:
    case ELOOP:
    case EFBIG:
    case EXDEV:
      return Code::invalid;
    default:
      return Code::unavailable;  // EIO and all that only the machine knows: the outcome is unknown
  }
}
}  // namespace

Error os_error(int number, std::string_view doing, std::string_view path) {
  std::string cause;
  if (number == ENOSPC) {
    cause = fmt::format("no space left on the file system of {}: free some", path);
  } else if (number == EDQUOT) {
    cause = fmt::format("the quota of the file system of {} is used up: free some space", path);
  } else if (number == EMFILE) {
    cause = "this process has too many open files (ulimit -n)";
  } else {
    cause = std::generic_category().message(number);
  }
  return {code_of(number), fmt::format("{} {}: {}", doing, path, cause), {}};
}

void UniqueFd::reset() {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

}  // namespace ebb
