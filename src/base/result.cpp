#include "base/result.h"

namespace ebb {

std::string_view to_string(Code code) {
  switch (code) {
    case Code::not_found:
      return "not_found";
    case Code::conflict:
      return "conflict";
    case Code::fenced:
      return "fenced";
    case Code::busy:
      return "busy";
    case Code::invalid:
      return "invalid";
    case Code::unavailable:
      return "unavailable";
    case Code::corrupt:
      return "corrupt";
    case Code::internal:
      return "internal";
  }
  return "internal";
}

}  // namespace ebb
