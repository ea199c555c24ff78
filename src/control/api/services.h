// Wire handlers, one class a resource. Each checks its input, asks the owner for one change, and shows the
// result.
#pragma once
#include "control/api/router.h"
#include "control/api/views.h"
#include "control/limits.h"
#include "control/sessions.h"
#include "control/wanted.h"
#include "drain/state_facts.h"

namespace ebb::control {

// Those named, and those with all labels of the selector, each once. not_found: one of them, or any; invalid: nothing is named.
Result<std::set<WorkerId>> workers_by(const Fleet& fleet, const std::vector<WorkerId>& names,
                                      const std::optional<Labels>& selector);

class VmsService;

class WorkersService {
 public:
  // `vms` makes the VMs that workers are tested with; it outlives this.
  WorkersService(Context context, const VmsService& vms) : c_(context), vms_(vms) {}
  void add_routes(Router& router);

 private:
  Task<HttpResponse> list(Call call);
  Task<HttpResponse> show(Call call);
  Task<HttpResponse> why(Call call);
  Task<HttpResponse> list_holds(Call call);
  Task<HttpResponse> cordon(Call call);
  Task<HttpResponse> cordon_many(Call call);
  Task<HttpResponse> uncordon(Call call);
  Task<HttpResponse> uncordon_many(Call call);
  using Decision = std::function<Result<bool>(Batch&, const WorkerId&)>;
  Task<HttpResponse> decide(Call call, Decision decision);
  // For what is about this worker alone: many such requests at once share commits.
  Task<HttpResponse> decide_together(Call call, Decision decision);
  Task<HttpResponse> decide_many(std::set<WorkerId> workers, Decision decision);
  Result<bool> cordon_in(Batch& batch, const WorkerId& id, const CordonWorker& wish) const;
  Result<bool> uncordon_in(Batch& batch, const WorkerId& id) const;
  Task<HttpResponse> give_back(Call call);
  Task<HttpResponse> forget(Call call);
  Result<bool> return_in(Batch& batch, const WorkerId& id, const ReturnWorker& wish) const;
  Result<VmId> create_test_vm(Batch& batch, const WorkerId& worker) const;
  Context c_;
  const VmsService& vms_;
};

class VmsService {
 public:
  explicit VmsService(Context context) : c_(context) {}
  void add_routes(Router& router);
  // The record, without a commit. `test_of`: it is to run there only, held as that worker may be.
  Result<VmId> create_in(Batch& batch, const CreateVm& wish, std::optional<WorkerId> test_of = {}) const;

 private:
  Task<HttpResponse> list(Call call);
  Task<HttpResponse> show(Call call);
  Task<HttpResponse> why(Call call);
  Task<HttpResponse> create(Call call);
  Task<HttpResponse> set_desired(Call call, VmDesired desired);
  Task<HttpResponse> migrate(Call call);
  Task<HttpResponse> list_disks(Call call);
  Task<HttpResponse> show_disk(Call call);
  Result<std::vector<NetworkInterface>> join(const std::vector<JoinNetwork>& wishes) const;
  Status check_may_remove(const Vm& vm) const;
  Task<HttpResponse> edit(Call call);
  Result<VmId> edit_in(Batch& batch, const VmId& id, const EditVm& wish) const;
  Result<MigrationId> migrate_in(Batch& batch, const VmId& id, const MigrateVm& wish) const;
  Context c_;
};

// Disks by hand, snapshots, restores and the log of disks. (Lists of disks are in VmsService.) A disk with a name is found by that
// as well as by its id.
class DisksService {
 public:
  explicit DisksService(Context context) : c_(context) {}
  void add_routes(Router& router);

 private:
  using Decision = std::function<Result<bool>(Batch&)>;
  Task<HttpResponse> decide(std::string disk, Decision decision);
  DiskId id_in(const Call& call) const;
  Task<HttpResponse> create(Call call);
  Task<HttpResponse> attach(Call call);
  Task<HttpResponse> detach(Call call);
  Task<HttpResponse> grow(Call call);
  Task<HttpResponse> keep(Call call);
  Result<bool> make_in(Batch& batch, const CreateDisk& wish) const;
  Result<bool> attach_in(Batch& batch, const DiskId& id, const VmId& vm) const;
  Result<bool> detach_in(Batch& batch, const DiskId& id) const;
  Result<bool> grow_in(Batch& batch, const DiskId& id, std::uint64_t size_bytes) const;
  Task<HttpResponse> remove(Call call);
  Task<HttpResponse> create_snapshot(Call call);
  Task<HttpResponse> remove_snapshot(Call call);
  Task<HttpResponse> plan_restore(Call call);
  Task<HttpResponse> restore(Call call);
  Task<HttpResponse> log(Call call);
  Task<HttpResponse> why(Call call);
  Result<bool> keep_in(Batch& batch, const DiskId& id, const KeepDisk& wish) const;
  Result<bool> remove_disk_in(Batch& batch, const DiskId& id, bool at_once) const;
  Result<bool> create_in(Batch& batch, const DiskId& id, const CreateSnapshot& wish) const;
  Result<bool> remove_in(Batch& batch, const DiskId& id, const std::string& name) const;
  Result<bool> restore_in(Batch& batch, const DiskId& id, const std::string& snapshot) const;
  Context c_;
};

class NetworksService {
 public:
  explicit NetworksService(Context context) : c_(context) {}
  void add_routes(Router& router);

 private:
  Task<HttpResponse> list(Call call);
  Task<HttpResponse> show(Call call);
  Task<HttpResponse> create(Call call);
  Task<HttpResponse> remove(Call call);
  Result<bool> create_in(Batch& batch, const CreateNetwork& wish) const;
  Context c_;
};

class DrainsService {
 public:
  explicit DrainsService(Context context) : c_(context) {}
  void add_routes(Router& router);

 private:
  Task<HttpResponse> list(Call call);
  Task<HttpResponse> show(Call call);
  Task<HttpResponse> create(Call call);
  Task<HttpResponse> cancel(Call call);
  Task<HttpResponse> pause(Call call, bool is_paused);
  Task<HttpResponse> undo(Call call);
  Status check_may_undo(const Drain& drain) const;
  Task<HttpResponse> list_migrations(Call call);
  Task<HttpResponse> show_migration(Call call);
  Task<HttpResponse> cancel_migration(Call call);
  Result<DrainScope> scope_of_wish(const CreateDrain& wish) const;
  DrainPlan make_plan(const DrainScope& scope);
  Status check_is_fresh(const CreateDrain& wish, const DrainScope& scope) const;
  Result<const Drain*> find_running(const CreateDrain& wish, const DrainScope& scope) const;
  Result<DrainId> create_in(Batch& batch, const CreateDrain& wish, bool& created) const;
  static constexpr std::size_t plans_kept_max = 8;
  Context c_;
  std::deque<std::pair<std::string, drain::StateFacts>> planned_from_;  // the last plans, by their hash
};

class BudgetsService {
 public:
  explicit BudgetsService(Context context) : c_(context) {}
  void add_routes(Router& router);

 private:
  Task<HttpResponse> list(Call call);
  Task<HttpResponse> show(Call call);
  Task<HttpResponse> put(Call call);
  Task<HttpResponse> remove(Call call);
  Result<bool> put_in(Batch& batch, const PutBudget& wish) const;
  Context c_;
};

class GroupsService {
 public:
  explicit GroupsService(Context context) : c_(context) {}
  void add_routes(Router& router);

 private:
  Task<HttpResponse> list(Call call);
  Task<HttpResponse> show(Call call);
  Task<HttpResponse> put(Call call);
  Task<HttpResponse> remove(Call call);
  Result<bool> put_in(Batch& batch, const PutGroup& wish) const;
  Context c_;
};

class AgentService {
 public:
  AgentService(Context context, WantedSets& wanted) : c_(context), wanted_(wanted) {}
  void add_routes(Router& router);

 private:
  Task<HttpResponse> register_worker(Call call);
  Task<HttpResponse> wanted(Call call);
  Task<HttpResponse> report(Call call);
  Context c_;
  WantedSets& wanted_;
};

// Logs and consoles of VMs.
class SessionsService {
 public:
  SessionsService(Context context, Sessions& sessions) : c_(context), sessions_(sessions) {}
  void add_routes(Router& router);

 private:
  Task<HttpResponse> open(Call call, SessionKind kind);
  Task<HttpResponse> type(Call call);
  Task<HttpResponse> tell(Call call);
  Task<HttpResponse> give_input(Call call);
  Task<HttpResponse> take_output(Call call);
  Context c_;
  Sessions& sessions_;
};

class EventsService {
 public:
  explicit EventsService(Context context) : c_(context) {}
  void add_routes(Router& router);

 private:
  Task<HttpResponse> events(Call call);
  Task<void> stream(std::uint64_t since, bool follow, BodyWriter* out);
  Context c_;
};

// A page of views of all records in `map` that `keep` wants.
template <class View, class Map, class Keep>
Result<Page<View>> page_of(const Context& c, const Map& map, const Call& call, Keep keep) {
  EBB_TRY(size, call.number("page_size", 500));
  if (size == 0 || size > 5000) return fail_field("page_size", "'page_size' must be between 1 and 5000");
  auto token = call.query.find("page_token");
  auto at = token == call.query.end() ? map.begin() : map.upper_bound(typename Map::key_type(token->second));
  Page<View> page;
  for (; at != map.end(); ++at) {
    if (!keep(at->second)) continue;
    if (page.items.size() == size) {
      page.next_page_token = std::prev(at)->first.value;
      break;
    }
    if constexpr (std::is_same_v<View, typename Map::mapped_type>) {
      page.items.push_back(at->second);
    } else {
      page.items.push_back(view_of(c, at->second));
    }
  }
  return page;
}
inline constexpr auto keep_all = [](const auto&) { return true; };

// Server-sent events, for as long as the task of `stream` goes on.
inline HttpResponse event_reply(std::function<Task<void>(BodyWriter&)> stream) {
  HttpResponse reply;
  reply.headers["content-type"] = "text/event-stream";
  reply.headers["cache-control"] = "no-store";
  reply.stream = std::move(stream);
  return reply;
}

template <class T>
HttpResponse reply_or_error(const Result<T>& result, int status = 200) {
  return result ? reply_with(*result, status) : error_reply(result.error());
}

}  // namespace ebb::control
