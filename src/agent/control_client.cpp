#include "agent/control_client.h"

#include "agent/disk_client.h"
#include "env/event_stream.h"

namespace ebb::agent {
namespace {
constexpr Duration answer_limit = 5s;
constexpr Duration output_limit = 30s;                          // an operator's terminal may stand still
constexpr Duration silence_max = 20s, calls_silence_max = 40s;  // there are comments every 5 and 15 s
}  // namespace

HttpRequest ControlClient::request_of(std::string method, std::string target, std::string body) const {
  HttpRequest request{
      std::move(method), std::move(target), {{"authorization", "Bearer " + join_token_}}, std::move(body)};
  if (!request.body.empty()) request.headers["content-type"] = "application/json";
  return request;
}

Task<Result<HttpResponse>> ControlClient::ask(std::string method, std::string target, std::string body,
                                              Duration limit) {
  return http_.request(address_, request_of(std::move(method), std::move(target), std::move(body)), limit);
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

// What is not understood comes from a newer control plane: whoever asked hears nothing of us, and is told so there.
template <class T>
Task<Status> ControlClient::watch(std::string target, Duration silence, std::function<void(T)> on_event) {
  auto on_data = [on_event](std::string_view data) {
    if (auto event = json::read_text<T>(data)) on_event(std::move(*event));
  };
  co_return co_await read_events(loop_, http_, address_, request_of("GET", std::move(target), ""), silence,
                                 on_data);
}

Task<Status> ControlClient::watch_sessions(WorkerId worker, std::function<void(SessionCall)> on_call) {
  return watch(fmt::format("/v1/agent/workers/{}/sessions", worker), calls_silence_max, std::move(on_call));
}

Task<Status> ControlClient::watch_input(SessionId session, std::function<void(SessionInput)> on_input) {
  return watch(fmt::format("/v1/agent/sessions/{}/input", session), silence_max, std::move(on_input));
}

Task<Status> ControlClient::send_output(SessionId session, SessionOutput output) {
  EBB_CO_TRY(response, co_await ask("POST", fmt::format("/v1/agent/sessions/{}/output", session),
                                    json::write_text(output), output_limit));
  if (response.status / 100 != 2) co_return fail(error_of(response, "bringing what a VM says"));
  co_return Status{};
}

}  // namespace ebb::agent
