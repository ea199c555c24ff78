// The typed client of the control plane's API, for the CLI and for tests. One method a route; pages are
// followed, error bodies become Errors, and "no answer" says what to do about it.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "env/http.h"
#include "env/loop.h"
#include "model/api_types.h"
#include "model/export_types.h"
#include "model/session_types.h"

namespace ebb {

struct ClientOptions {
  std::string address = "127.0.0.1:7400";
  std::string token;  // sent as `authorization: Bearer`; none if empty
  Duration request_limit = 15s;
  Duration seal_limit = 10min;  // sealing an image reads all of it again
};

// A part of an image, as in PUT /v1/images/{id}/{part}.
enum class ImagePart { kernel, initrd, disk };
BOOST_DESCRIBE_ENUM(ImagePart, kernel, initrd, disk)

// The most that one upload carries.
inline constexpr std::size_t upload_chunk_bytes = 4 * MiB;
inline constexpr std::uint64_t upload_zeroes_bytes = 64 * MiB;

struct StartedDrain {
  DrainView view;
  bool existed = false;  // the worker was being drained already: this is that drain
};

// All of what is named holds.
struct VmFilter {
  std::optional<WorkerId> worker{};
  std::optional<std::string> tenant{};  // empty: those of none
  Labels labels{};
};

struct MigrationFilter {
  std::optional<VmId> vm;
  std::optional<DrainId> drain;
};

struct EventsFrom {
  std::uint64_t since = 0;  // only entries with a higher revision
  bool follow = false;      // go on with what happens from now on
};

// What an operator wants to see of a VM.
struct SessionView {
  VmId vm;
  SessionKind kind = SessionKind::logs;
  bool follow = false;
  std::optional<ConsolePoint> from{};  // goes on there, if the VM is there still; else from the beginning
  std::optional<std::uint32_t> tail_lines{};
  std::optional<std::string> port{};  // its name
  std::optional<GuestCommand> command{};
};

class ApiClient final {
 public:
  ApiClient(Http& http, ClientOptions options) : http_(http), options_(std::move(options)) {}
  const ClientOptions& options() const { return options_; }

  Task<Result<CellView>> cell();
  // One page of a list such as "/v1/vms", for lists that are too long to be held: of workers, VMs, disks, images, networks, groups,
  // budgets, holds, drains and migrations, as the API shows each.
  template <class T>
  Task<Result<Page<T>>> page(std::string list, std::optional<std::string> token);

  Task<Result<std::vector<WorkerView>>> workers();
  Task<Result<WorkerView>> worker(WorkerId id);
  Task<Result<WorkerView>> cordon(WorkerId id, CordonWorker wish);
  Task<Result<WorkerView>> uncordon(WorkerId id);
  Task<Result<std::vector<WorkerView>>> cordon_many(CordonWorkers wish);
  Task<Result<std::vector<WorkerView>>> uncordon_many(UncordonWorkers wish);
  Task<Result<WorkerView>> return_worker(WorkerId id, ReturnWorker wish);
  Task<Result<WhyAnswer>> why_worker(WorkerId id);
  Task<Status> remove_worker(WorkerId id);

  Task<Result<std::vector<VmView>>> vms(VmFilter filter = {});
  Task<Result<VmView>> vm(VmId id);
  Task<Result<VmView>> create_vm(CreateVm request);
  Task<Result<VmView>> start_vm(VmId id);
  Task<Result<VmView>> stop_vm(VmId id);
  Task<Result<VmView>> edit_vm(VmId id, EditVm request);
  // What is wanted is `absent` from now on; the VM is gone when vm(id) answers not_found.
  Task<Result<VmView>> remove_vm(VmId id);
  Task<Result<MigrationView>> migrate_vm(VmId id, MigrateVm request);
  Task<Result<WhyAnswer>> why_vm(VmId id);

  Task<Result<std::vector<Disk>>> disks();
  Task<Result<Disk>> disk(DiskId id);
  Task<Result<WhyAnswer>> why_disk(DiskId id);
  Task<Result<Disk>> create_disk(CreateDisk request);
  Task<Result<Disk>> attach_disk(DiskId id, VmId vm);
  Task<Result<Disk>> detach_disk(DiskId id);
  // It has ended when disk(id) has no `growth` any more.
  Task<Result<Disk>> grow_disk(DiskId id, std::uint64_t size_bytes);
  Task<Result<Disk>> create_snapshot(DiskId id, CreateSnapshot request);
  // It is gone when disk(id) does not list it any more.
  // Its data is kept for a while, unless that is not wanted.
  Task<Status> remove_disk(DiskId id, bool at_once = false);
  Task<Result<Disk>> keep_disk(DiskId id, KeepDisk request);
  Task<Result<Disk>> remove_snapshot(DiskId id, std::string name);
  Task<Result<RestorePlanView>> plan_restore(DiskId id, std::string snapshot);
  // It has ended when disk(id) has no `restore` any more.
  Task<Result<Disk>> restore_disk(DiskId id, std::string snapshot);
  Task<Result<DiskLogView>> disk_log(DiskId id);

  Task<Result<std::vector<VmNetwork>>> networks();
  Task<Result<VmNetwork>> network(NetworkId id);
  Task<Result<VmNetwork>> create_network(CreateNetwork request);
  Task<Status> remove_network(NetworkId id);

  Task<Result<std::vector<Image>>> images();
  Task<Result<Image>> image(ImageId id);
  Task<Result<Image>> create_image(CreateImage request);
  // Chunks of a part follow each other without a gap; one that was sent already may be sent again.
  Task<Status> upload(ImageId id, ImagePart part, std::uint64_t offset, Bytes chunk);
  // The same for a chunk of nothing but zeroes, of up to upload_zeroes_bytes.
  Task<Status> upload_zeroes(ImageId id, ImagePart part, std::uint64_t offset, std::uint64_t bytes);
  Task<Result<Image>> seal_image(ImageId id);
  Task<Status> remove_image(ImageId id);

  Task<Result<DrainPlan>> plan_drain(CreateDrain request);
  Task<Result<StartedDrain>> start_drain(CreateDrain request);
  Task<Result<std::vector<DrainView>>> drains();
  Task<Result<DrainView>> drain(DrainId id);
  Task<Result<DrainView>> cancel_drain(DrainId id);
  Task<Result<DrainView>> pause_drain(DrainId id);
  Task<Result<DrainView>> resume_drain(DrainId id);
  Task<Result<DrainPlan>> plan_undo(DrainId id);
  Task<Result<DrainView>> undo_drain(DrainId id);

  Task<Result<std::vector<Hold>>> holds();
  Task<Result<std::vector<BudgetView>>> budgets();
  Task<Result<BudgetView>> budget(BudgetId id);
  Task<Result<BudgetView>> put_budget(PutBudget wish);
  Task<Status> remove_budget(BudgetId id);
  Task<Result<std::vector<GroupView>>> groups();
  Task<Result<GroupView>> group(GroupId id);
  Task<Result<GroupView>> put_group(PutGroup wish);
  Task<Status> remove_group(GroupId id);

  Task<Result<std::vector<MigrationView>>> migrations(MigrationFilter filter);
  Task<Result<MigrationView>> migration(MigrationId id);
  Task<Result<MigrationView>> cancel_migration(MigrationId id);

  // Ends ok when the server ends the stream, after the event that tells why; unavailable when it broke, or was silent.
  Task<Status> watch_session(Loop& loop, SessionView view, std::function<void(SessionEvent)> on_event);
  Task<Status> type(SessionId id, SessionInput input);

  // Calls `on_entry` for every entry in order. Ends ok when the server has no more; unavailable when the
  // stream broke.
  Task<Status> events(EventsFrom from, std::function<void(const JournalEntry&)> on_entry);

 private:
  HttpRequest make_request(std::string method, std::string target) const;
  Task<Result<HttpResponse>> send(HttpRequest request, Duration limit);
  Status stream_end(Status ended) const;
  template <class T>
  Task<Result<T>> call(std::string method, std::string target, std::string body = {});
  template <class T>
  Task<Result<std::vector<T>>> all_pages(std::string target);

  Http& http_;
  ClientOptions options_;
};

// Percent-encodes everything but A-Z a-z 0-9 - . _ ~ (RFC 3986, section 2.3).
std::string url_encode(std::string_view text);

}  // namespace ebb
