#include "agent/disk_client.h"

#include "model/api_types.h"

namespace ebb::agent {
namespace {

// Above the time within which the daemon answers; it may be busy with a store that does not.
constexpr Duration verb_limit = 20s, status_limit = 2s;

Code code_of(const std::string& name, int http_status) {
  for (auto code : {Code::not_found, Code::conflict, Code::fenced, Code::busy, Code::invalid,
                    Code::unavailable, Code::corrupt, Code::internal}) {
    if (name == to_string(code)) return code;
  }
  switch (http_status) {
    case 404:
      return Code::not_found;
    case 409:
      return Code::conflict;
    case 400:
    case 401:
    case 403:
    case 405:
    case 413:
      return Code::invalid;
    default:
      return Code::unavailable;
  }
}

}  // namespace

Error error_of(const HttpResponse& response, std::string_view doing) {
  auto body = json::read_text<ErrorBody>(response.body);
  auto message = body ? body->message : fmt::format("HTTP status {}", response.status);
  return {code_of(body ? body->code : "", response.status), fmt::format("{}: {}", doing, message), {}};
}

bool holds_lease(DiskSeen state) {
  switch (state) {
    case DiskSeen::opening:
    case DiskSeen::open:
    case DiskSeen::sealing:
      return true;
    case DiskSeen::standby:
    case DiskSeen::sealed:
    case DiskSeen::fenced:
    case DiskSeen::reading:
    case DiskSeen::failed:
      return false;
  }
  return false;
}

bool serves(const DiskStatus& status) { return !status.nbd_socket.empty(); }

bool is_news(const DaemonStatus& before, const DaemonStatus& after) {
  auto without_counters = [](DaemonStatus status) {
    for (auto& disk : status.disks) disk.unsent_bytes = disk.unsent_age_ms = 0, disk.owner_age_ms.reset();
    return status;
  };
  return without_counters(before) != without_counters(after);
}

const DiskStatus* DiskClient::find(const DiskId& disk) const {
  auto found = std::ranges::find(last_.disks, disk, &DiskStatus::disk);
  return found == last_.disks.end() ? nullptr : &*found;
}

Task<Result<HttpResponse>> DiskClient::request(HttpRequest request) {
  bool is_status = request.method == "GET";
  auto response = co_await http_.request(address_, std::move(request), is_status ? status_limit : verb_limit);
  is_up_ = response.has_value();
  has_told_ = has_told_ && is_up_;
  if (!response)
    co_return fail(Code::unavailable, "the disk daemon does not answer: {}", response.error().message);
  co_return response;
}

Task<Result<DiskStatus>> DiskClient::ask(std::string verb, std::string body, DiskId disk) {
  EBB_CO_TRY(response,
             co_await request({"POST", verb, {{"content-type", "application/json"}}, std::move(body)}));
  ++verbs_;
  if (response.status != 200) co_return fail(error_of(response, fmt::format("disk '{}'", disk)));
  auto status = json::read_text<DiskStatus>(response.body);
  if (!status) co_return fail(Code::unavailable, "the disk daemon's answer: {}", status.error().message);
  if (verb != "/close" && verb != "/hint") remember(*status);  // those may come late
  co_return status;
}

Task<Status> DiskClient::close(DiskRef ref) {
  auto disk = ref.disk;
  auto closed = co_await ask("/close", json::write_text(ref), disk);
  if (!closed && closed.error().code != Code::not_found) co_return fail(std::move(closed).error());
  drop(disk);
  co_return Status{};
}

Task<Result<SnapshotMade>> DiskClient::snapshot(MakeSnapshot wish) {
  EBB_CO_TRY(response,
             co_await request(
                 {"POST", "/snapshot", {{"content-type", "application/json"}}, json::write_text(wish)}));
  if (response.status != 200) co_return fail(error_of(response, fmt::format("disk '{}'", wish.disk)));
  auto made = json::read_text<SnapshotMade>(response.body);
  if (!made) co_return fail(Code::unavailable, "the disk daemon's answer: {}", made.error().message);
  co_return made;
}

Task<Status> DiskClient::rescue(RescueLog wish) {
  EBB_CO_TRY(
      response,
      co_await request({"POST", "/rescue", {{"content-type", "application/json"}}, json::write_text(wish)}));
  if (response.status != 200) co_return fail(error_of(response, fmt::format("disk '{}'", wish.into)));
  co_return Status{};
}

Task<Status> DiskClient::refresh() {
  auto verbs = verbs_;
  auto asked_at = loop_.now();
  EBB_CO_TRY(response, co_await request({"GET", "/status", {}, {}}));
  if (response.status != 200) co_return fail(error_of(response, "the disk daemon"));
  auto status = json::read_text<DaemonStatus>(response.body);
  if (!status) co_return fail(Code::unavailable, "the disk daemon's answer: {}", status.error().message);
  if (verbs == verbs_) last_ = std::move(*status), heard_at_ = asked_at, has_told_ = true;
  co_return Status{};
}

void DiskClient::remember(const DiskStatus& status) {
  drop(status.disk);
  last_.disks.push_back(status);
}

// What a verb leaves in logs is known only from the next status: until then they may hold anything.
void DiskClient::doubt_logs_of(const DiskId& disk) {
  for (auto* logs : {&last_.unsent_logs, &last_.unread_logs})
    if (std::ranges::find(*logs, disk) == logs->end()) logs->push_back(disk);
}

void DiskClient::drop(const DiskId& disk) {
  const auto* known = find(disk);
  bool writes_nothing = known && (known->state == DiskSeen::sealed || known->state == DiskSeen::standby ||
                                  known->state == DiskSeen::reading);
  if (known && !writes_nothing) doubt_logs_of(disk);
  std::erase_if(last_.disks, [&](const DiskStatus& s) { return s.disk == disk; });
}

}  // namespace ebb::agent
