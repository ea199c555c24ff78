#include "base/text.h"
#include "control/api/services.h"
#include "control/loops/return_loop.h"

namespace ebb::control {

void WorkersService::add_routes(Router& r) {
  const auto op = Access::operator_token;
  r.add("GET", "/v1/workers", op, [this](Call c) { return list(std::move(c)); });
  r.add("GET", "/v1/workers/{id}", op, [this](Call c) { return show(std::move(c)); });
  r.add("GET", "/v1/workers/{id}:why", op, [this](Call c) { return why(std::move(c)); });
  r.add("POST", "/v1/workers:cordon", op, [this](Call c) { return cordon_many(std::move(c)); });
  r.add("POST", "/v1/workers:uncordon", op, [this](Call c) { return uncordon_many(std::move(c)); });
  r.add("POST", "/v1/workers/{id}:cordon", op, [this](Call c) { return cordon(std::move(c)); });
  r.add("POST", "/v1/workers/{id}:uncordon", op, [this](Call c) { return uncordon(std::move(c)); });
  r.add("POST", "/v1/workers/{id}:return", op, [this](Call c) { return give_back(std::move(c)); });
  r.add("DELETE", "/v1/workers/{id}", op, [this](Call c) { return forget(std::move(c)); });
  r.add("GET", "/v1/holds", op, [this](Call c) { return list_holds(std::move(c)); });
}

Task<HttpResponse> WorkersService::list(Call call) {
  co_return reply_or_error(page_of<WorkerView>(c_, c_.fleet().workers(), call, keep_all));
}

Task<HttpResponse> WorkersService::show(Call call) {
  const auto* worker = c_.fleet().find(WorkerId(call.param("id")));
  co_return worker ? reply_with(view_of(c_, *worker)) : error_reply(no_such("worker", call.param("id")));
}

Task<HttpResponse> WorkersService::why(Call call) {
  const auto* worker = c_.fleet().find(WorkerId(call.param("id")));
  co_return worker ? reply_with(why_worker(c_, *worker)) : error_reply(no_such("worker", call.param("id")));
}

Task<HttpResponse> WorkersService::list_holds(Call call) {
  co_return reply_or_error(page_of<Hold>(c_, c_.fleet().holds(), call, keep_all));
}

Result<std::set<WorkerId>> workers_by(const Fleet& fleet, const std::vector<WorkerId>& names,
                                      const std::optional<Labels>& selector) {
  std::set<WorkerId> chosen;
  for (const auto& id : names) {
    if (!fleet.find(id)) return fail(no_such("worker", id.value));
    chosen.insert(id);
  }
  if (selector) {
    EBB_CHECKED(check_labels("selector", *selector));
    // All of the fleet is not what a slip of the hand should drain.
    if (selector->empty()) return fail_field("selector", "'selector' must name at least one label");
    for (const auto& [id, worker] : fleet.workers())
      if (has_labels(worker.labels, *selector)) chosen.insert(id);
    if (chosen.empty()) return fail(Code::not_found, "no worker has the labels {}", text_of(*selector));
  }
  if (chosen.empty()) return fail_field("workers", "name a worker, or a selector of labels");
  return chosen;
}

Task<HttpResponse> WorkersService::decide(Call call, Decision decision) {
  const WorkerId id(call.param("id"));
  auto changed = co_await c_.owner.change<bool>([&](Batch& batch) { return decision(batch, id); });
  co_return changed ? co_await show(std::move(call)) : error_reply(changed.error());
}

Task<HttpResponse> WorkersService::decide_together(Call call, Decision decision) {
  const WorkerId id(call.param("id"));
  auto changed = co_await c_.owner.change_together(
      "workers/" + id.value, [id, decision = std::move(decision)](Batch& batch) -> Status {
        auto done = decision(batch, id);
        return done ? Status{} : Status(fail(std::move(done).error()));
      });
  co_return changed ? co_await show(std::move(call)) : error_reply(changed.error());
}

// As many in one commit as it takes. The same again goes on where it ended.
Task<HttpResponse> WorkersService::decide_many(std::set<WorkerId> workers, Decision decision) {
  if (workers.size() > drain_workers_max)
    co_return error_reply(
        {Code::invalid,
         fmt::format("{} workers: one request takes at most {}", workers.size(), drain_workers_max),
         "workers"});
  for (auto at = workers.begin(); at != workers.end();) {
    auto changed = co_await c_.owner.change<bool>([&](Batch& batch) -> Result<bool> {
      for (; at != workers.end() && !batch.is_full(); ++at) {
        if (auto done = decision(batch, *at); !done && done.error().code != Code::not_found) return done;
      }
      return true;
    });
    if (!changed) co_return error_reply(changed.error());
  }
  Page<WorkerView> views;
  for (const auto& id : workers)
    if (const auto* worker = c_.fleet().find(id)) views.items.push_back(view_of(c_, *worker));
  co_return reply_with(views);
}

namespace {
Status check_cordon(const CordonWorker& wish) {
  EBB_CHECKED(check_length("reason", wish.reason, reason_bytes_max));
  if (wish.expires_in_ms && (*wish.expires_in_ms == 0 || *wish.expires_in_ms > hold_ms_max))
    return fail_field("expires_in_ms", "'expires_in_ms' must be between 1 and a year");
  return {};
}
}  // namespace

Task<HttpResponse> WorkersService::cordon(Call call) {
  auto wish = body_of<CordonWorker>(call);
  if (!wish) co_return error_reply(wish.error());
  if (auto status = check_cordon(*wish); !status) co_return error_reply(status.error());
  co_return co_await decide_together(std::move(call), [this, wish = *wish](Batch& batch, const WorkerId& id) {
    return cordon_in(batch, id, wish);
  });
}

Task<HttpResponse> WorkersService::cordon_many(Call call) {
  auto wish = body_of<CordonWorkers>(call);
  if (!wish) co_return error_reply(wish.error());
  const CordonWorker one{wish->reason, wish->expires_in_ms};
  if (auto status = check_cordon(one); !status) co_return error_reply(status.error());
  auto workers = workers_by(c_.fleet(), wish->workers, wish->selector);
  if (!workers) co_return error_reply(workers.error());
  co_return co_await decide_many(std::move(*workers),
                                 [&](Batch& batch, const WorkerId& id) { return cordon_in(batch, id, one); });
}

Result<bool> WorkersService::cordon_in(Batch& batch, const WorkerId& id, const CordonWorker& wish) const {
  if (!c_.fleet().find(id)) return fail(no_such("worker", id.value));
  Hold hold{HoldId(batch.mint_id("hold")), id, "operator", wish.reason, batch.now(), std::nullopt};
  for (const auto* old : c_.fleet().holds_on(id)) {
    if (old->owner != "operator") continue;
    const bool says_the_same = wish.reason.empty() || wish.reason == old->reason;
    if (says_the_same && !wish.expires_in_ms && !old->expires_at) return true;  // it is cordoned already
    hold = *old;  // for longer, or for less long
    if (!wish.reason.empty()) hold.reason = wish.reason;
  }
  hold.expires_at = wish.expires_in_ms ? std::optional(batch.now() + static_cast<WallMs>(*wish.expires_in_ms))
                                       : std::nullopt;
  batch.put(hold);
  batch.journal("worker.cordoned", "workers/" + id.value,
                fmt::format("cordoned{}: {}",
                            hold.expires_at ? " until " + format_time(*hold.expires_at) : "", hold.reason));
  return true;
}

Task<HttpResponse> WorkersService::uncordon(Call call) {
  co_return co_await decide_together(
      std::move(call), [this](Batch& batch, const WorkerId& id) { return uncordon_in(batch, id); });
}

Task<HttpResponse> WorkersService::uncordon_many(Call call) {
  auto wish = body_of<UncordonWorkers>(call);
  if (!wish) co_return error_reply(wish.error());
  auto workers = workers_by(c_.fleet(), wish->workers, wish->selector);
  if (!workers) co_return error_reply(workers.error());
  co_return co_await decide_many(std::move(*workers),
                                 [this](Batch& batch, const WorkerId& id) { return uncordon_in(batch, id); });
}

Result<bool> WorkersService::uncordon_in(Batch& batch, const WorkerId& id) const {
  if (!c_.fleet().find(id)) return fail(no_such("worker", id.value));
  for (const auto* hold : c_.fleet().holds_on(id)) {
    if (hold->owner != "operator") continue;
    batch.erase(*hold);
    batch.journal("worker.uncordoned", "workers/" + id.value, "the operator's hold was released");
  }
  return true;
}

// Verifies the worker, then releases the holds of ended drains and of its rejoining; with a test VM that takes a while, and goes
// on in the background. An operator's own cordon stays.
Task<HttpResponse> WorkersService::give_back(Call call) {
  auto wish = body_of<ReturnWorker>(call);
  if (!wish) co_return error_reply(wish.error());
  co_return co_await decide(std::move(call),
                            [&](Batch& batch, const WorkerId& id) { return return_in(batch, id, *wish); });
}

Result<bool> WorkersService::return_in(Batch& batch, const WorkerId& id, const ReturnWorker& wish) const {
  const auto& fleet = c_.fleet();
  const auto* worker = fleet.find(id);
  if (!worker) return fail(no_such("worker", id.value));
  if (worker->is_returning()) return true;
  if (const auto* drain = fleet.active_drain_of(id))
    return fail(Code::conflict, "{} is still being drained by {}: wait for it, or cancel it", id, drain->id);
  const auto& limits = c_.reconciler.limits().returns;
  EBB_CHECKED(check_can_return(fleet, c_.seen(), id, limits));
  for (const auto& test : fleet.test_vms())
    if (fleet.at(test).test_of == id)
      return fail(Code::busy, "test VM {} of the last try is still being removed: try again in a moment",
                  test);
  auto next = *worker;
  next.returning.reset();
  if (!holds_to_release(fleet, id).empty()) {
    const bool is_untested = !limits.image || wish.untested.value_or(false);
    if (!is_untested && !runs_some_vm(fleet, c_.seen(), id)) {
      EBB_TRY(vm, create_test_vm(batch, id));
      next.returning = WorkerReturn{vm, batch.now()};
      batch.journal("worker.returning", "workers/" + id.value, fmt::format("is tested with VM {}", vm));
    } else {
      release_holds(fleet, id, batch);
    }
  }
  if (next != *worker) batch.put(next);
  return true;
}

Result<VmId> WorkersService::create_test_vm(Batch& batch, const WorkerId& worker) const {
  const auto& fleet = c_.fleet();
  const auto& limits = c_.reconciler.limits().returns;
  constexpr const char* way_out = "mend ebbd's configuration, [return], or 'ebb return --untested'";
  const auto* image = fleet.find(*limits.image);
  if (!image || image->state != ImageState::ready)
    return fail(Code::conflict, "the image of test VMs, '{}', is not there: import it, {}", *limits.image,
                way_out);
  CreateVm wish;
  do wish.id = VmId(batch.mint_id("test"));
  while (fleet.find(wish.id));
  wish.spec.image = *limits.image, wish.spec.memory_bytes = limits.memory_bytes;
  wish.spec.restart = Restart::never;
  if (image->disk)
    wish.spec.disk_class = DiskClass::remote;  // what it writes is nothing to rescue
  else
    wish.spec.storage = Storage::none;
  auto vm = vms_.create_in(batch, wish, worker);
  if (!vm) return fail(Code::conflict, "there can be no test VM: {}; {}", vm.error().message, way_out);
  return vm;
}

Task<HttpResponse> WorkersService::forget(Call call) {
  const WorkerId id(call.param("id"));
  auto changed = co_await c_.owner.change<bool>([&](Batch& batch) -> Result<bool> {
    const auto& fleet = c_.fleet();
    const auto* worker = fleet.find(id);
    if (!worker) return fail(no_such("worker", id.value));
    if (!fleet.vms_owned_by(id).empty() || !fleet.open_migrations_at(id).empty()) {
      return fail(Code::conflict, "{} still has {} VMs: drain it first", id, fleet.vms_owned_by(id).size());
    }
    if (c_.seen().is_ready(id)) return fail(Code::conflict, "{} still reports: stop its agent first", id);
    if (const auto* drain = fleet.active_drain_of(id))
      return fail(Code::conflict, "{} is being drained by {}", id, drain->id);
    for (const auto* hold : fleet.holds_on(id)) batch.erase(*hold);
    batch.erase(*worker);
    batch.journal("worker.forgotten", "workers/" + id.value, "forgotten");
    return true;
  });
  if (!changed) co_return error_reply(changed.error());
  c_.owner.seen().forget(id);
  HttpResponse reply;
  reply.status = 204;
  co_return reply;
}

}  // namespace ebb::control
