// The operator's CLI: the real world around ebb::Cli.
#include <cstdio>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/cli.h"
#include "platform/asio_offload.h"
#include "platform/images/disk_image.h"
#include "platform/real_env.h"
#include "platform/s3/pool_store.h"

extern char** environ;

namespace {

class TerminalScreen final : public ebb::Screen {
 public:
  void write(ebb::Output to, std::string_view text) override {
    auto* file = to == ebb::Output::data ? stdout : stderr;
    std::fwrite(text.data(), 1, text.size(), file);
    std::fflush(file);
  }
  bool is_terminal(ebb::Output output) const override {
    return isatty(output == ebb::Output::data ? 1 : 2) != 0;
  }
  ebb::ScreenSize size() const override {
    winsize now{};
    if (ioctl(1, TIOCGWINSZ, &now) != 0 && ioctl(2, TIOCGWINSZ, &now) != 0) return {};
    return {now.ws_col > 0 ? now.ws_col : std::size_t{80}, now.ws_row > 0 ? now.ws_row : std::size_t{24}};
  }
};

std::map<std::string, std::string> environment() {
  std::map<std::string, std::string> variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    std::string_view text(*entry);
    auto at = text.find('=');
    if (at != std::string_view::npos) variables.emplace(text.substr(0, at), text.substr(at + 1));
  }
  return variables;
}

}  // namespace

int main(int argc, char** argv) {
  ebb::RealEnv env;
  TerminalScreen screen;
  auto open_pool = [&env](std::string url) { return ebb::open_pool_store(env.loop, std::move(url)); };
  auto variables = environment();
  auto temporary = variables["TMPDIR"];
  if (temporary.empty()) temporary = "/var/tmp";
  ebb::AsioOffload threads(env.loop);
  ebb::DiskImageFetcher disk_images(env.loop, threads, temporary);
  ebb::Cli cli({env.loop, env.http, env.files, screen, std::move(variables), open_pool, &disk_images});
  env.loop.on_signal([&cli](int) { cli.interrupt(); });
  return ebb::run_until_done(env.loop, cli.run({argv + 1, argv + argc}));
}
