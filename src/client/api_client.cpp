#include "client/api_client.h"

#include "client/api_errors.h"
#include "env/event_stream.h"

namespace ebb {
namespace {

// A server that hands out page tokens forever is broken; a cell holds 20,000 workers, so this is ample.
constexpr int pages_max = 10'000;

template <class Tag>
std::string path_of(std::string_view collection, const Id<Tag>& id, std::string_view rest = {}) {
  return fmt::format("/v1/{}/{}{}", collection, url_encode(id.value), rest);
}

template <class T>
Result<T> decode(const HttpResponse& reply) {
  auto value = json::read_text<T>(reply.body);
  if (value) return value;
  return fail(Code::internal, "the control plane's answer is not understood ({}): is it of another version?",
              value.error().message);
}

}  // namespace

std::string url_encode(std::string_view text) {
  constexpr std::string_view digits = "0123456789ABCDEF";
  std::string out;
  for (char c : text) {
    auto byte = static_cast<unsigned char>(c);
    bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                 c == '.' || c == '_' || c == '~';
    if (plain) {
      out += c;
    } else {
      out += {'%', digits[byte >> 4], digits[byte & 15]};
    }
  }
  return out;
}

HttpRequest ApiClient::make_request(std::string method, std::string target) const {
  HttpRequest request;
  request.method = std::move(method);
  request.target = std::move(target);
  if (!options_.token.empty()) request.headers["authorization"] = "Bearer " + options_.token;
  return request;
}

Task<Result<HttpResponse>> ApiClient::send(HttpRequest request, Duration limit) {
  auto reply = co_await http_.request(options_.address, std::move(request), limit);
  if (!reply) co_return fail(unreachable(options_.address, reply.error()));
  EBB_CO_CHECKED(check_reply(*reply));
  co_return reply;
}

// What the end of a stream means.
Status ApiClient::stream_end(Status ended) const {
  if (ended) return ended;
  if (auto error = find_error_body(ended.error().message)) return fail(*std::move(error));
  if (ended.error().code == Code::unavailable) return fail(unreachable(options_.address, ended.error()));
  return ended;
}

template <class T>
Task<Result<T>> ApiClient::call(std::string method, std::string target, std::string body) {
  auto request = make_request(std::move(method), std::move(target));
  if (!body.empty()) request.headers["content-type"] = "application/json";
  request.body = std::move(body);
  EBB_CO_TRY(reply, co_await send(std::move(request), options_.request_limit));
  if constexpr (std::is_void_v<T>) {
    co_return Status{};
  } else {
    co_return decode<T>(reply);
  }
}

template <class T>
Task<Result<std::vector<T>>> ApiClient::all_pages(std::string target) {
  std::vector<T> items;
  std::optional<std::string> token;
  for (int pages = 0; pages < pages_max; ++pages) {
    auto separator = target.contains('?') ? '&' : '?';
    auto page_target =
        token ? fmt::format("{}{}page_token={}", target, separator, url_encode(*token)) : target;
    EBB_CO_TRY(page, co_await call<Page<T>>("GET", page_target));
    std::move(page.items.begin(), page.items.end(), std::back_inserter(items));
    if (!page.next_page_token || page.next_page_token->empty()) co_return items;
    token = std::move(page.next_page_token);
  }
  co_return fail(Code::internal, "the list {} does not end", target);
}

// ---- the cell, and long lists ----

Task<Result<CellView>> ApiClient::cell() { return call<CellView>("GET", "/v1/cell"); }

template <class T>
Task<Result<Page<T>>> ApiClient::page(std::string list, std::optional<std::string> token) {
  constexpr std::size_t size = 1000;
  return call<Page<T>>("GET",
                       token ? fmt::format("{}?page_size={}&page_token={}", list, size, url_encode(*token))
                             : fmt::format("{}?page_size={}", list, size));
}
template Task<Result<Page<WorkerView>>> ApiClient::page(std::string, std::optional<std::string>);
template Task<Result<Page<VmView>>> ApiClient::page(std::string, std::optional<std::string>);
template Task<Result<Page<Disk>>> ApiClient::page(std::string, std::optional<std::string>);
template Task<Result<Page<Image>>> ApiClient::page(std::string, std::optional<std::string>);
template Task<Result<Page<VmNetwork>>> ApiClient::page(std::string, std::optional<std::string>);
template Task<Result<Page<GroupView>>> ApiClient::page(std::string, std::optional<std::string>);
template Task<Result<Page<BudgetView>>> ApiClient::page(std::string, std::optional<std::string>);
template Task<Result<Page<Hold>>> ApiClient::page(std::string, std::optional<std::string>);
template Task<Result<Page<DrainView>>> ApiClient::page(std::string, std::optional<std::string>);
template Task<Result<Page<MigrationView>>> ApiClient::page(std::string, std::optional<std::string>);

// ---- workers ----

Task<Result<std::vector<WorkerView>>> ApiClient::workers() { return all_pages<WorkerView>("/v1/workers"); }
Task<Result<WorkerView>> ApiClient::worker(WorkerId id) {
  return call<WorkerView>("GET", path_of("workers", id));
}
Task<Result<WorkerView>> ApiClient::cordon(WorkerId id, CordonWorker wish) {
  return call<WorkerView>("POST", path_of("workers", id, ":cordon"), json::write_text(wish));
}
Task<Result<WorkerView>> ApiClient::uncordon(WorkerId id) {
  return call<WorkerView>("POST", path_of("workers", id, ":uncordon"), "{}");
}
Task<Result<std::vector<WorkerView>>> ApiClient::cordon_many(CordonWorkers wish) {
  EBB_CO_TRY(page, co_await call<Page<WorkerView>>("POST", "/v1/workers:cordon", json::write_text(wish)));
  co_return std::move(page.items);
}
Task<Result<std::vector<WorkerView>>> ApiClient::uncordon_many(UncordonWorkers wish) {
  EBB_CO_TRY(page, co_await call<Page<WorkerView>>("POST", "/v1/workers:uncordon", json::write_text(wish)));
  co_return std::move(page.items);
}
Task<Result<WorkerView>> ApiClient::return_worker(WorkerId id, ReturnWorker wish) {
  return call<WorkerView>("POST", path_of("workers", id, ":return"), json::write_text(wish));
}
Task<Result<WhyAnswer>> ApiClient::why_worker(WorkerId id) {
  return call<WhyAnswer>("GET", path_of("workers", id, ":why"));
}
Task<Status> ApiClient::remove_worker(WorkerId id) { return call<void>("DELETE", path_of("workers", id)); }

// ---- VMs ----

Task<Result<std::vector<VmView>>> ApiClient::vms(VmFilter filter) {
  std::vector<std::string> wanted;
  auto want = [&](std::string_view name, std::string_view value) {
    wanted.push_back(fmt::format("{}={}", url_encode(name), url_encode(value)));
  };
  if (filter.worker) want("worker", filter.worker->value);
  if (filter.tenant) want("tenant", *filter.tenant);
  for (const auto& [key, value] : filter.labels) want("labels[" + key + "]", value);
  return all_pages<VmView>(wanted.empty() ? "/v1/vms" : fmt::format("/v1/vms?{}", fmt::join(wanted, "&")));
}
Task<Result<VmView>> ApiClient::vm(VmId id) { return call<VmView>("GET", path_of("vms", id)); }
Task<Result<VmView>> ApiClient::create_vm(CreateVm request) {
  return call<VmView>("POST", "/v1/vms", json::write_text(request));
}
Task<Result<VmView>> ApiClient::start_vm(VmId id) {
  return call<VmView>("POST", path_of("vms", id, ":start"), "{}");
}
Task<Result<VmView>> ApiClient::stop_vm(VmId id) {
  return call<VmView>("POST", path_of("vms", id, ":stop"), "{}");
}
Task<Result<VmView>> ApiClient::edit_vm(VmId id, EditVm request) {
  return call<VmView>("POST", path_of("vms", id, ":edit"), json::write_text(request));
}
Task<Result<VmView>> ApiClient::remove_vm(VmId id) { return call<VmView>("DELETE", path_of("vms", id)); }
Task<Result<MigrationView>> ApiClient::migrate_vm(VmId id, MigrateVm request) {
  return call<MigrationView>("POST", path_of("vms", id, ":migrate"), json::write_text(request));
}
Task<Result<WhyAnswer>> ApiClient::why_disk(DiskId id) {
  return call<WhyAnswer>("GET", path_of("disks", id, ":why"));
}
Task<Result<Disk>> ApiClient::create_disk(CreateDisk request) {
  return call<Disk>("POST", "/v1/disks", json::write_text(request));
}
Task<Result<Disk>> ApiClient::attach_disk(DiskId id, VmId vm) {
  return call<Disk>("POST", path_of("disks", id, ":attach"), json::write_text(AttachDisk{std::move(vm)}));
}
Task<Result<Disk>> ApiClient::detach_disk(DiskId id) {
  return call<Disk>("POST", path_of("disks", id, ":detach"));
}
Task<Result<Disk>> ApiClient::grow_disk(DiskId id, std::uint64_t size_bytes) {
  return call<Disk>("POST", path_of("disks", id, ":grow"), json::write_text(GrowDisk{size_bytes}));
}
Task<Result<Disk>> ApiClient::create_snapshot(DiskId id, CreateSnapshot request) {
  return call<Disk>("POST", path_of("disks", id, "/snapshots"), json::write_text(request));
}
Task<Status> ApiClient::remove_disk(DiskId id, bool at_once) {
  return call<void>("DELETE", path_of("disks", id, at_once ? "?now=true" : ""));
}
Task<Result<Disk>> ApiClient::keep_disk(DiskId id, KeepDisk request) {
  return call<Disk>("POST", path_of("disks", id, ":keep"), json::write_text(request));
}
Task<Result<Disk>> ApiClient::remove_snapshot(DiskId id, std::string name) {
  return call<Disk>("DELETE", path_of("disks", id, "/snapshots/" + url_encode(name)));
}
Task<Result<RestorePlanView>> ApiClient::plan_restore(DiskId id, std::string snapshot) {
  return call<RestorePlanView>("GET",
                               path_of("disks", id, "/snapshots/" + url_encode(snapshot) + ":plan-restore"));
}
Task<Result<Disk>> ApiClient::restore_disk(DiskId id, std::string snapshot) {
  return call<Disk>("POST", path_of("disks", id, ":restore"),
                    json::write_text(RestoreDisk{std::move(snapshot)}));
}
Task<Result<DiskLogView>> ApiClient::disk_log(DiskId id) {
  return call<DiskLogView>("GET", path_of("disks", id, ":log"));
}

Task<Result<WhyAnswer>> ApiClient::why_vm(VmId id) {
  return call<WhyAnswer>("GET", path_of("vms", id, ":why"));
}

// ---- networks, disks and images ----

Task<Result<std::vector<VmNetwork>>> ApiClient::networks() { return all_pages<VmNetwork>("/v1/networks"); }
Task<Result<VmNetwork>> ApiClient::network(NetworkId id) {
  return call<VmNetwork>("GET", path_of("networks", id));
}
Task<Result<VmNetwork>> ApiClient::create_network(CreateNetwork request) {
  return call<VmNetwork>("POST", "/v1/networks", json::write_text(request));
}
Task<Status> ApiClient::remove_network(NetworkId id) { return call<void>("DELETE", path_of("networks", id)); }

Task<Result<std::vector<Disk>>> ApiClient::disks() { return all_pages<Disk>("/v1/disks"); }
Task<Result<Disk>> ApiClient::disk(DiskId id) { return call<Disk>("GET", path_of("disks", id)); }
Task<Result<std::vector<Image>>> ApiClient::images() { return all_pages<Image>("/v1/images"); }
Task<Result<Image>> ApiClient::image(ImageId id) { return call<Image>("GET", path_of("images", id)); }
Task<Result<Image>> ApiClient::create_image(CreateImage request) {
  return call<Image>("POST", "/v1/images", json::write_text(request));
}

Task<Status> ApiClient::upload(ImageId id, ImagePart part, std::uint64_t offset, Bytes chunk) {
  CHECK(chunk.size() <= upload_chunk_bytes);
  auto request =
      make_request("PUT", path_of("images", id, fmt::format("/{}?offset={}", json::name_of(part), offset)));
  request.headers["content-type"] = "application/octet-stream";
  request.body = as_text(chunk);
  EBB_CO_TRY(reply, co_await send(std::move(request), options_.request_limit));
  co_return Status{};
}

Task<Status> ApiClient::upload_zeroes(ImageId id, ImagePart part, std::uint64_t offset, std::uint64_t bytes) {
  auto request = make_request(
      "PUT",
      path_of("images", id, fmt::format("/{}?offset={}&zeroes={}", json::name_of(part), offset, bytes)));
  request.headers["content-type"] = "application/octet-stream";
  EBB_CO_TRY(reply, co_await send(std::move(request), options_.request_limit));
  co_return Status{};
}

Task<Result<Image>> ApiClient::seal_image(ImageId id) {
  auto request = make_request("POST", path_of("images", id, ":seal"));
  request.headers["content-type"] = "application/json";
  request.body = "{}";
  EBB_CO_TRY(reply, co_await send(std::move(request), options_.seal_limit));
  co_return decode<Image>(reply);
}

Task<Status> ApiClient::remove_image(ImageId id) { return call<void>("DELETE", path_of("images", id)); }

// ---- drains and migrations ----

Task<Result<DrainPlan>> ApiClient::plan_drain(CreateDrain request) {
  request.validate_only = true;
  return call<DrainPlan>("POST", "/v1/drains", json::write_text(request));
}

Task<Result<StartedDrain>> ApiClient::start_drain(CreateDrain create) {
  auto request = make_request("POST", "/v1/drains");
  request.headers["content-type"] = "application/json";
  request.body = json::write_text(create);
  EBB_CO_TRY(reply, co_await send(std::move(request), options_.request_limit));
  EBB_CO_TRY(view, decode<DrainView>(reply));
  bool ours = view.drain.request_id && view.drain.request_id == create.request_id;
  co_return StartedDrain{std::move(view), reply.status == 200 && !ours};
}

Task<Result<std::vector<DrainView>>> ApiClient::drains() { return all_pages<DrainView>("/v1/drains"); }
Task<Result<DrainView>> ApiClient::drain(DrainId id) { return call<DrainView>("GET", path_of("drains", id)); }
Task<Result<DrainView>> ApiClient::cancel_drain(DrainId id) {
  return call<DrainView>("POST", path_of("drains", id, ":cancel"), "{}");
}

Task<Result<DrainView>> ApiClient::pause_drain(DrainId id) {
  return call<DrainView>("POST", path_of("drains", id, ":pause"), "{}");
}
Task<Result<DrainView>> ApiClient::resume_drain(DrainId id) {
  return call<DrainView>("POST", path_of("drains", id, ":resume"), "{}");
}

Task<Result<std::vector<Hold>>> ApiClient::holds() { return all_pages<Hold>("/v1/holds"); }
Task<Result<DrainPlan>> ApiClient::plan_undo(DrainId id) {
  return call<DrainPlan>("POST", path_of("drains", id, ":undo"), json::write_text(UndoDrain{true}));
}
Task<Result<DrainView>> ApiClient::undo_drain(DrainId id) {
  return call<DrainView>("POST", path_of("drains", id, ":undo"), "{}");
}

Task<Result<std::vector<GroupView>>> ApiClient::groups() { return all_pages<GroupView>("/v1/groups"); }
Task<Result<GroupView>> ApiClient::group(GroupId id) { return call<GroupView>("GET", path_of("groups", id)); }
Task<Result<GroupView>> ApiClient::put_group(PutGroup wish) {
  return call<GroupView>("POST", "/v1/groups", json::write_text(wish));
}
Task<Status> ApiClient::remove_group(GroupId id) { return call<void>("DELETE", path_of("groups", id)); }

Task<Result<std::vector<BudgetView>>> ApiClient::budgets() { return all_pages<BudgetView>("/v1/budgets"); }
Task<Result<BudgetView>> ApiClient::budget(BudgetId id) {
  return call<BudgetView>("GET", path_of("budgets", id));
}
Task<Result<BudgetView>> ApiClient::put_budget(PutBudget wish) {
  return call<BudgetView>("POST", "/v1/budgets", json::write_text(wish));
}
Task<Status> ApiClient::remove_budget(BudgetId id) { return call<void>("DELETE", path_of("budgets", id)); }

Task<Result<std::vector<MigrationView>>> ApiClient::migrations(MigrationFilter filter) {
  std::string target = "/v1/migrations";
  if (filter.vm) target += "?vm=" + url_encode(filter.vm->value);
  if (filter.drain) target += (filter.vm ? "&drain=" : "?drain=") + url_encode(filter.drain->value);
  return all_pages<MigrationView>(std::move(target));
}
Task<Result<MigrationView>> ApiClient::migration(MigrationId id) {
  return call<MigrationView>("GET", path_of("migrations", id));
}
Task<Result<MigrationView>> ApiClient::cancel_migration(MigrationId id) {
  return call<MigrationView>("POST", path_of("migrations", id, ":cancel"), "{}");
}

// ---- sessions ----

namespace {
constexpr Duration session_silence_max = 20s;  // there is a comment every 5 s
}

Task<Status> ApiClient::watch_session(Loop& loop, SessionView view,
                                      std::function<void(SessionEvent)> on_event) {
  auto target = view.port      ? path_of("vms", view.vm, "/ports/" + url_encode(*view.port))
                : view.command ? path_of("vms", view.vm, "/exec")
                               : path_of("vms", view.vm,
                                         fmt::format("/{}?follow={}", json::name_of(view.kind), view.follow));
  if (view.from) {
    target += fmt::format("&worker={}&epoch={}&position={}", url_encode(view.from->worker.value),
                          view.from->epoch, view.from->position);
  } else if (view.tail_lines) {
    target += fmt::format("&tail={}", *view.tail_lines);
  }
  Status understood;
  auto on_data = [&](std::string_view data) {
    auto event = json::read_text<SessionEvent>(data);
    if (event) return on_event(std::move(*event));
    if (understood)
      understood = fail(Code::internal, "an event is not understood: {}", event.error().message);
  };
  auto request = make_request(view.command ? "POST" : "GET", std::move(target));
  if (view.command) {
    request.headers["content-type"] = "application/json";
    request.body = json::write_text(*view.command);
  }
  auto ended =
      co_await read_events(loop, http_, options_.address, std::move(request), session_silence_max, on_data);
  EBB_CO_CHECKED(std::move(understood));
  co_return stream_end(std::move(ended));
}

Task<Status> ApiClient::type(SessionId id, SessionInput input) {
  return call<void>("POST", path_of("sessions", id, "/input"), json::write_text(input));
}

// ---- events ----

Task<Status> ApiClient::events(EventsFrom from, std::function<void(const JournalEntry&)> on_entry) {
  auto request = make_request(
      "GET", fmt::format("/v1/events?since={}{}", from.since, from.follow ? "&follow=true" : ""));
  request.headers["accept"] = "text/event-stream";
  Status understood;
  EventStreamReader reader([&](std::string_view data) {
    if (!understood) return;
    auto entry = json::read_text<JournalEntry>(data);
    if (entry) {
      on_entry(*entry);
    } else {
      understood = fail(Code::internal, "an event is not understood: {}", entry.error().message);
    }
  });
  // Both locals live in this frame for as long as the stream is read.
  auto ended =
      co_await http_.request_stream(options_.address, std::move(request), [&](std::string_view piece) {
        if (!reader.feed(piece) && understood)
          understood = fail(Code::internal, "an event is over {} bytes", event_bytes_max);
      });
  EBB_CO_CHECKED(std::move(understood));
  co_return stream_end(std::move(ended));
}

}  // namespace ebb
