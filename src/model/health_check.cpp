#include "model/health_check.h"

#include <algorithm>

#include "base/text.h"

namespace ebb {
namespace {

constexpr std::size_t path_bytes_max = 1024;
constexpr std::uint32_t second_ms = 1'000, hour_ms = 3'600'000, timeout_min_ms = 100, timeout_max_ms = 60'000;
constexpr std::uint32_t failures_limit = 100;

}  // namespace

Result<HealthCheck> parse_health_check(std::string_view text) {
  const auto colon = text.find(':');
  HealthCheck check;
  EBB_TRY(kind, parse_health_kind(text.substr(0, colon)));
  check.kind = kind;
  const auto rest = colon == std::string_view::npos ? std::string_view() : text.substr(colon + 1);
  const auto slash = kind == HealthKind::http ? rest.find('/') : std::string_view::npos;
  const auto port = rest.substr(0, slash);
  if (kind == HealthKind::guest_agent && colon != std::string_view::npos)
    return fail(Code::invalid, "'{}': guest-agent takes no port", text);
  if (kind != HealthKind::guest_agent && port.empty())
    return fail(Code::invalid, "'{}' names no port: tcp:PORT, http:PORT or http:PORT/PATH", text);
  if (!port.empty()) check.port = std::string(port);
  if (slash != std::string_view::npos) check.path = std::string(rest.substr(slash));
  return check;
}

std::string to_text(const HealthCheck& check) {
  switch (check.kind) {
    case HealthKind::tcp:
      return "tcp:" + check.port.value_or("");
    case HealthKind::http:
      return fmt::format("http:{}{}", check.port.value_or(""), check.path.value_or("/"));
    case HealthKind::guest_agent:
      return "guest-agent";
  }
  return "";
}

Status check_health_check(const HealthCheck& check, const std::vector<Port>& ports) {
  const bool has_port = check.kind != HealthKind::guest_agent;
  if (has_port && !check.port)
    return fail_field("spec.health.port", "a health check by {} names one of the VM's ports",
                      json::name_of(check.kind));
  if (!has_port && check.port) return fail_field("spec.health.port", "a guest agent is not asked on a port");
  if (has_port && std::ranges::find(ports, *check.port, &Port::name) == ports.end())
    return fail_field("spec.health.port", "the VM has no port '{}' to check", *check.port);
  if (check.path && check.kind != HealthKind::http)
    return fail_field("spec.health.path", "only a health check by http has a path");
  auto is_odd = [](char c) { return c <= ' ' || c >= 0x7f; };
  if (check.path && (!check.path->starts_with('/') || check.path->size() > path_bytes_max ||
                     std::ranges::any_of(*check.path, is_odd)))
    return fail_field("spec.health.path",
                      "'{}' is no path: '/' and printable ASCII, {} bytes at most; percent-encode the rest",
                      check.path->substr(0, 40), path_bytes_max);
  if (check.interval_ms < second_ms || check.interval_ms > hour_ms)
    return fail_field("spec.health.interval_ms", "the interval of a health check is a second to an hour");
  if (check.timeout_ms < timeout_min_ms || check.timeout_ms > timeout_max_ms)
    return fail_field("spec.health.timeout_ms", "the timeout of a health check is 100 ms to a minute");
  if (check.failures_max < 1 || check.failures_max > failures_limit)
    return fail_field("spec.health.failures_max", "1 to {} failures in a row make a VM unhealthy",
                      failures_limit);
  if (check.start_grace_ms > hour_ms)
    return fail_field("spec.health.start_grace_ms", "a VM counts as starting for an hour at most");
  return {};
}

}  // namespace ebb
