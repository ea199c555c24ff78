#include "client/api_errors.h"

namespace ebb {
namespace {

constexpr std::array all_codes{Code::not_found, Code::conflict,    Code::fenced,  Code::busy,
                               Code::invalid,   Code::unavailable, Code::corrupt, Code::internal};

Code code_of_status(int status) {
  switch (status) {
    case 400:
    case 401:
    case 403:
    case 413:
      return Code::invalid;
    case 404:
      return Code::not_found;
    case 409:
      return Code::conflict;
    case 429:
      return Code::busy;
    case 502:
    case 503:
    case 504:
      return Code::unavailable;
    default:
      return Code::internal;
  }
}

Error from_body(const ErrorBody& body) {
  Error error{Code::internal, body.message, body.field.value_or("")};
  for (auto code : all_codes) {
    if (to_string(code) == body.code) error.code = code;
  }
  return error;
}

}  // namespace

std::optional<Error> find_error_body(std::string_view text) {
  auto start = text.find('{');
  if (start == std::string_view::npos) return std::nullopt;
  auto body = json::read_text<ErrorBody>(text.substr(start));
  if (!body || body->message.empty()) return std::nullopt;
  return from_body(*body);
}

Status check_reply(const HttpResponse& reply) {
  if (reply.status >= 200 && reply.status < 300) return {};
  auto error = find_error_body(reply.body);
  if (!error) {
    error = Error{code_of_status(reply.status),
                  fmt::format("the server answered {} without saying why", reply.status),
                  {}};
  }
  if (reply.status == 401 || reply.status == 403) {
    error->code = Code::invalid;
    error->message += "; give the operator's token with --token-file, EBB_TOKEN_FILE or EBB_TOKEN";
  }
  return fail(*std::move(error));
}

Error unreachable(const std::string& address, const Error& cause) {
  return Error{Code::unavailable,
               fmt::format("cannot reach the control plane at {}: start it or give --server ({})", address,
                           cause.message),
               {}};
}

}  // namespace ebb
