// The operator's CLI: the real world around ebb::Cli.
#include <csignal>
#include <fcntl.h>
#include <unistd.h>

#include "apps/terminal.h"
#include "cli/cli.h"
#include "platform/asio_offload.h"
#include "platform/images/disk_image.h"
#include "platform/real_env.h"
#include "platform/s3/pool_store.h"

extern char** environ;

namespace {

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
  // A reader that has gone is an error of a write, not our end: the terminal may have to be set right.
  std::signal(SIGPIPE, SIG_IGN);
  // The standard ones are open, so that nothing else is opened in their place.
  for (int fd = open("/dev/null", O_RDWR); fd >= 0; fd = open("/dev/null", O_RDWR)) {
    if (fd < 3) continue;
    close(fd);
    break;
  }
  ebb::RealEnv env;
  ebb::TerminalScreen screen;
  ebb::TerminalKeyboard keyboard(env.loop);
  auto open_pool = [&env](std::string url) { return ebb::open_pool_store(env.loop, std::move(url)); };
  auto variables = environment();
  auto temporary = variables["TMPDIR"];
  if (temporary.empty()) temporary = "/var/tmp";
  ebb::AsioOffload threads(env.loop);
  ebb::DiskImageFetcher disk_images(env.loop, threads, temporary);
  ebb::Cli cli({env.loop, env.http, env.files, screen, std::move(variables), open_pool, &disk_images,
                &keyboard, &env.network});
  env.loop.on_signal([&cli](int) { cli.interrupt(); });
  return ebb::run_until_done(env.loop, cli.run({argv + 1, argv + argc}));
}
