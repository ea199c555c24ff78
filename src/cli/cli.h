// The CLI as a whole: command line in, exit code out. apps/ebb.cpp gives it the real world, tests a made-up
// one.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "cli/context.h"

namespace ebb {

class Cli final {
 public:
  explicit Cli(CliEnv env) : env_(std::move(env)) {}
  // `args` without the program's name.
  Task<int> run(std::vector<std::string> args);
  // Ctrl-C: ends the command at once, says what goes on without it; run() then gives 130. From the loop's
  // thread.
  void interrupt();

 private:
  Task<Result<std::string>> find_token(std::string token_file);

  CliEnv env_;
  std::function<void()> on_interrupt_;
};

}  // namespace ebb
