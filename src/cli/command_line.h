// From arguments to a command with its options bound, or to the text that says what is wrong with them.
#pragma once
#include <string>
#include <vector>

#include "cli/context.h"

namespace ebb {

struct ParsedCommandLine {
  Command run;  // absent: print `text` and end with `exit`
  std::string text;
  Exit exit = Exit::ok;
  std::string server, token_file;
  Format format = Format::text;
};

ParsedCommandLine parse_command_line(std::vector<std::string> args);

}  // namespace ebb
