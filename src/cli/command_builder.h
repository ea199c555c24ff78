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
      const auto under = command->get_subcommands();
      if (under.empty()) return void(parsed_.run = bind());
      if (under[0]->get_name() == list_name) return;
      // Written behind a command under this one, or before it, an option of this one would be taken, and mean nothing.
      for (const auto* option : command->get_options())
        if (option->count() > 0)
          refuse(option->get_name(),
                 fmt::format("'{} {}' has no such option", command->get_name(), under[0]->get_name()));
    });
  }
  // A group's list: with its options also as `ls`, as in `ebb vms ls`.
  void on_list(CLI::App* group, std::function<Command()> bind) {
    on(group, bind);
    group->require_subcommand(0, 1);
    command(group, list_name, "the same list, by the same options")->callback([this, bind = std::move(bind)] {
      parsed_.run = bind();
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
  void on_list(CLI::App* group, Task<Result<Exit>> (*run)(Context&)) {
    on_list(group, [run]() -> Command { return [run](Context& c) { return run(c); }; });
  }

 private:
  static constexpr const char* list_name = "ls";
  CLI::App& app_;
  ParsedCommandLine& parsed_;
  std::vector<std::string> words_;
};

// KEY=VALUE of each; `option` is what a refusal names.
Labels parse_labels(const std::string& option, const std::vector<std::string>& words);

// export_command.cpp
void add_export_command(Builder& b);
// budget_commands.cpp
void add_budget_commands(Builder& b);
// group_commands.cpp
void add_group_commands(Builder& b);
// vm_command_line.cpp
void add_vm_commands(Builder& b);
void add_console_commands(Builder& b, CLI::App& app);
// network_commands.cpp
void add_network_commands(Builder& b);
// storage_command_line.cpp
void add_storage_commands(Builder& b);
void add_snapshot_commands(Builder& b);

}  // namespace ebb
