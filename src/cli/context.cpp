#include "cli/context.h"

namespace ebb {

Exit exit_of(const Error& error) {
  switch (error.code) {
    case Code::not_found:
      return Exit::not_found;
    case Code::conflict:
    case Code::fenced:
      return Exit::conflict;
    case Code::invalid:
      return Exit::usage;
    case Code::unavailable:
      return Exit::unreachable;
    case Code::busy:
    case Code::corrupt:
    case Code::internal:
      return Exit::failed;
  }
  return Exit::failed;
}

namespace {
std::string variable(const Context& c, const std::string& name) {
  auto at = c.env.variables.find(name);
  return at == c.env.variables.end() ? "" : at->second;
}
}  // namespace

Palette Context::palette() const {
  // https://no-color.org: any value but the empty one.
  bool colored = screen().is_terminal(Output::data) && variable(*this, "NO_COLOR").empty() &&
                 variable(*this, "TERM") != "dumb";
  return colored ? Palette::colored : Palette::plain;
}

bool Context::is_live() const {
  return format == Format::text && screen().is_terminal(Output::data) && variable(*this, "TERM") != "dumb";
}

}  // namespace ebb
