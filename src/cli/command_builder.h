// How the command line is put together: a group of commands each file, all in this manner.
#pragma once
#include <CLI/CLI.hpp>

#include "cli/command_line.h"
#include "cli/commands.h"

namespace ebb {

// Library exceptions stay in the files that use this: thrown by converters, caught by parse_command_line.
[[noreturn]] inline void refuse(const std::string& option, const std::string& why) {
  throw CLI::ValidationError(option, why);
}

template <class T>
T value_or_refuse(Result<T> result, const std::string& option) {
  if (!result) refuse(option, result.error().message);
  return std::move(*result);
}

// A group of commands that lists when nothing more is said, as in `ebb vms` and `ebb vms show VM`.
class Builder {
 public:
  // `words`: what stood after '--', of a command that takes words as they are.
  Builder(CLI::App& app, ParsedCommandLine& parsed, std::vector<std::string> words)
      : app_(app), parsed_(parsed), words_(std::move(words)) {}
  const std::vector<std::string>& words_after_dashes() const { return words_; }

  CLI::App* command(CLI::App* parent, const std::string& name, const std::string& description) {
    return parent->add_subcommand(name, description)->fallthrough();
  }
  CLI::App* command(const std::string& name, const std::string& description) {
    return command(&app_, name, description);
  }

  void on(CLI::App* command, std::function<Command()> bind) {
    command->callback([this, command, bind = std::move(bind)] {
      if (command->get_subcommands().empty()) parsed_.run = bind();
    });
  }
  // A command with one required argument.
  template <class Id>
  void on_one(CLI::App* parent, const std::string& name, const std::string& description,
              const std::string& argument, Task<Result<Exit>> (*run)(Context&, Id)) {
    auto text = std::make_shared<std::string>();
    auto* added = command(parent, name, description);
    added->add_option(argument, *text)->required();
    on(added, [text, run] { return [id = Id(*text), run](Context& c) { return run(c, id); }; });
  }
  void on_none(CLI::App* command, Task<Result<Exit>> (*run)(Context&)) {
    on(command, [run] { return [run](Context& c) { return run(c); }; });
  }

 private:
  CLI::App& app_;
  ParsedCommandLine& parsed_;
  std::vector<std::string> words_;
};

// vm_command_line.cpp
void add_vm_commands(Builder& b);
void add_console_commands(Builder& b, CLI::App& app);
// network_commands.cpp
void add_network_commands(Builder& b);
// storage_command_line.cpp
void add_storage_commands(Builder& b);
void add_snapshot_commands(Builder& b);

}  // namespace ebb
