#include "agent/control_client.h"

#include "agent/disk_client.h"

namespace ebb::agent {
namespace {
constexpr Duration answer_limit = 5s;
}

Task<Result<HttpResponse>> ControlClient::ask(std::string method, std::string target, std::string body,
                                              Duration limit) {
  HttpRequest request{
      std::move(method), std::move(target), {{"authorization", "Bearer " + join_token_}}, std::move(body)};
  if (!request.body.empty()) request.headers["content-type"] = "application/json";
  return http_.request(address_, std::move(request), limit);
}

Task<Status> ControlClient::send_registration(Registration registration) {
  EBB_CO_TRY(response,
             co_await ask("POST", "/v1/agent/register", json::write_text(registration), answer_limit));
  if (response.status / 100 != 2) co_return fail(error_of(response, "registering with the control plane"));
  co_return Status{};
}

Task<Result<std::optional<WantedSet>>> ControlClient::wanted(WorkerId worker, std::uint64_t revision,
                                                             Duration wait) {
  auto target =
      fmt::format("/v1/agent/workers/{}/wanted?revision={}&wait_s={}", worker, revision, to_ms(wait) / 1000);
  EBB_CO_TRY(response, co_await ask("GET", std::move(target), "", wait + answer_limit));
  if (response.status == 304) co_return std::nullopt;
  if (response.status != 200) co_return fail(error_of(response, "asking for the wanted set"));
  auto set = json::read_text<WantedSet>(response.body);
  if (!set) co_return fail(std::move(set).error().within("the wanted set"));
  if (set->worker != worker) co_return fail(Code::invalid, "got the wanted set of '{}'", set->worker);
  co_return std::optional(std::move(*set));
}

Task<Result<ReportAnswer>> ControlClient::report(AgentReport report) {
  EBB_CO_TRY(response, co_await ask("POST", "/v1/agent/report", json::write_text(report), answer_limit));
  if (response.status / 100 != 2) co_return fail(error_of(response, "reporting"));
  co_return json::read_text<ReportAnswer>(response.body);
}

}  // namespace ebb::agent
