#include "apps/terminal.h"

#include <cstdio>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "platform/os_error.h"

namespace ebb {
namespace {
constexpr int keyboard_fd = 0;
}

void TerminalScreen::write(Output to, std::string_view text) {
  auto* file = to == Output::data ? stdout : stderr;
  std::fwrite(text.data(), 1, text.size(), file);
  std::fflush(file);
}

bool TerminalScreen::is_terminal(Output output) const { return isatty(output == Output::data ? 1 : 2) != 0; }

ScreenSize TerminalScreen::size() const {
  winsize now{};
  if (ioctl(1, TIOCGWINSZ, &now) != 0 && ioctl(2, TIOCGWINSZ, &now) != 0) return {};
  return {now.ws_col > 0 ? now.ws_col : std::size_t{80}, now.ws_row > 0 ? now.ws_row : std::size_t{24}};
}

bool TerminalKeyboard::is_terminal() const { return isatty(keyboard_fd) != 0; }

Status TerminalKeyboard::set_raw(bool raw) {
  if (raw == cooked_.has_value()) return {};
  if (!raw) {
    tcsetattr(keyboard_fd, TCSADRAIN, &*cooked_);
    cooked_.reset();
    return {};
  }
  termios now{};
  if (tcgetattr(keyboard_fd, &now) != 0) return fail_os(errno, "ask for the settings of", "the terminal");
  auto settings = now;
  cfmakeraw(&settings);
  if (tcsetattr(keyboard_fd, TCSADRAIN, &settings) != 0) return fail_os(errno, "set up", "the terminal");
  cooked_ = now;
  return {};
}

TerminalKeyboard::~TerminalKeyboard() {
  (void)set_raw(false);
  watch_.reset();
  if (flags_) fcntl(keyboard_fd, F_SETFL, *flags_);
}

// A terminal is opened anew: that ours does not block is nothing to whoever else has it open.
Status TerminalKeyboard::open() {
  auto fd = is_terminal() ? ::open("/dev/tty", O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC) : -1;
  if (fd < 0) {
    const auto flags = fcntl(keyboard_fd, F_GETFL);
    fd = fcntl(keyboard_fd, F_DUPFD_CLOEXEC, 3);
    if (flags < 0 || fd < 0) return fail_os(errno, "read", "the standard input");
    flags_ = flags;
  }
  watch_ = std::make_unique<FdWatch>(loop_, fd);
  return {};
}

Task<Result<std::string>> TerminalKeyboard::read() {
  struct stat info{};
  // Files and /dev/null are always readable, and nothing that can be waited for.
  const bool can_wait =
      is_terminal() || (fstat(keyboard_fd, &info) == 0 && (S_ISFIFO(info.st_mode) || S_ISSOCK(info.st_mode)));
  if (can_wait && !watch_) EBB_CO_CHECKED(open());
  std::string bytes(4096, '\0');
  for (;;) {
    if (watch_ && !co_await watch_->readable()) co_return std::string();
    const auto size = ::read(watch_ ? watch_->fd() : keyboard_fd, bytes.data(), bytes.size());
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (size < 0) co_return fail_os(errno, "read", "the standard input");
    bytes.resize(static_cast<std::size_t>(size));
    co_return bytes;
  }
}

}  // namespace ebb
