// Result<T>: what every function that can fail returns.
// An Error says what the caller may do about it (its Code), what we were doing, and the cause.
#pragma once
#include <expected>
#include <fmt/format.h>
#include <string>
#include <string_view>
#include <utility>

namespace ebb {

// What the caller may do.
enum class Code {
  not_found,    // the named thing does not exist
  conflict,     // somebody else changed it first: read again, then decide
  fenced,       // a newer owner exists: stop, for good
  busy,         // not now; the same call may succeed later
  invalid,      // the request is wrong and will stay wrong
  unavailable,  // no answer, or an unknown outcome: ask or retry, never undo
  corrupt,      // stored bytes are not what was written
  internal,     // our own mistake
};

// The stable name of a code, as in the API ("not_found").
std::string_view to_string(Code code);

struct Error {
  Code code = Code::internal;
  std::string message;  // a sentence that says what was wrong and what to do
  std::string field;    // the request field or configuration key at fault, if one is

  // The same error, with what we were doing put before it.
  Error within(std::string_view doing) && {
    message = fmt::format("{}: {}", doing, message);
    return std::move(*this);
  }
  bool operator==(const Error&) const = default;
};

template <class T>
using Result = std::expected<T, Error>;
using Status = Result<void>;

template <class... Args>
[[nodiscard]] std::unexpected<Error> fail(Code code, fmt::format_string<Args...> text, Args&&... args) {
  return std::unexpected(Error{code, fmt::format(text, std::forward<Args>(args)...), {}});
}
// Like fail, for bad input: names the field at fault.
template <class... Args>
[[nodiscard]] std::unexpected<Error> fail_field(std::string field, fmt::format_string<Args...> text,
                                                Args&&... args) {
  return std::unexpected(
      Error{Code::invalid, fmt::format(text, std::forward<Args>(args)...), std::move(field)});
}
[[nodiscard]] inline std::unexpected<Error> fail(Error error) { return std::unexpected(std::move(error)); }

}  // namespace ebb

// As "message (code)". Not by format_to: that compiles the whole of fmt into every file that includes this.
template <>
struct fmt::formatter<ebb::Error> : fmt::formatter<std::string_view> {
  auto format(const ebb::Error& e, fmt::format_context& ctx) const {
    return fmt::formatter<std::string_view>::format(fmt::format("{} ({})", e.message, ebb::to_string(e.code)),
                                                    ctx);
  }
};

// EBB_TRY(name, expression): declares `name` as the value of a Result, or returns its error.
// EBB_CHECKED(expression): the same for a Status. The CO_ forms are for coroutines.
#define EBB_CONCAT_(a, b) a##b
#define EBB_CONCAT(a, b) EBB_CONCAT_(a, b)
#define EBB_TRY_(tmp, ret, name, ...)                    \
  auto tmp = __VA_ARGS__;                                \
  if (!tmp) ret std::unexpected(std::move(tmp).error()); \
  auto name = std::move(*tmp)
#define EBB_TRY(name, ...) EBB_TRY_(EBB_CONCAT(ebb_try_, __LINE__), return, name, __VA_ARGS__)
#define EBB_CO_TRY(name, ...) EBB_TRY_(EBB_CONCAT(ebb_try_, __LINE__), co_return, name, __VA_ARGS__)
#define EBB_CHECKED(...) \
  if (auto ebb_status = __VA_ARGS__; !ebb_status) return std::unexpected(std::move(ebb_status).error())
#define EBB_CO_CHECKED(...) \
  if (auto ebb_status = __VA_ARGS__; !ebb_status) co_return std::unexpected(std::move(ebb_status).error())
