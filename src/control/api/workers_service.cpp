#include "base/text.h"
#include "control/api/services.h"

namespace ebb::control {

void WorkersService::add_routes(Router& r) {
  const auto op = Access::operator_token;
  r.add("GET", "/v1/workers", op, [this](Call c) { return list(std::move(c)); });
  r.add("GET", "/v1/workers/{id}", op, [this](Call c) { return show(std::move(c)); });
  r.add("GET", "/v1/workers/{id}:why", op, [this](Call c) { return why(std::move(c)); });
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

Task<HttpResponse> WorkersService::cordon(Call call) {
  const WorkerId id(call.param("id"));
  auto wish = body_of<CordonWorker>(call);
  if (!wish) co_return error_reply(wish.error());
  if (auto status = check_length("reason", wish->reason, reason_bytes_max); !status)
    co_return error_reply(status.error());
  if (wish->expires_in_ms && (*wish->expires_in_ms == 0 || *wish->expires_in_ms > hold_ms_max))
    co_return error_reply({Code::invalid, "'expires_in_ms' must be between 1 and a year", "expires_in_ms"});
  auto changed = co_await c_.owner.change<bool>([&](Batch& batch) -> Result<bool> {
    if (!c_.fleet().find(id)) return fail(no_such("worker", id.value));
    Hold hold{HoldId(batch.mint_id("hold")), id, "operator", wish->reason, batch.now(), std::nullopt};
    for (const auto* old : c_.fleet().holds_on(id)) {
      if (old->owner != "operator") continue;
      const bool says_the_same = wish->reason.empty() || wish->reason == old->reason;
      if (says_the_same && !wish->expires_in_ms && !old->expires_at) return true;  // it is cordoned already
      hold = *old;  // for longer, or for less long
      if (!wish->reason.empty()) hold.reason = wish->reason;
    }
    hold.expires_at = wish->expires_in_ms
                          ? std::optional(batch.now() + static_cast<WallMs>(*wish->expires_in_ms))
                          : std::nullopt;
    batch.put(hold);
    batch.journal("worker.cordoned", "workers/" + id.value,
                  fmt::format("cordoned{}: {}",
                              hold.expires_at ? " until " + format_time(*hold.expires_at) : "", hold.reason));
    return true;
  });
  co_return changed ? co_await show(std::move(call)) : error_reply(changed.error());
}

Task<HttpResponse> WorkersService::uncordon(Call call) {
  const WorkerId id(call.param("id"));
  auto changed = co_await c_.owner.change<bool>([&](Batch& batch) -> Result<bool> {
    if (!c_.fleet().find(id)) return fail(no_such("worker", id.value));
    for (const auto* hold : c_.fleet().holds_on(id)) {
      if (hold->owner != "operator") continue;
      batch.erase(*hold);
      batch.journal("worker.uncordoned", "workers/" + id.value, "the operator's hold was released");
    }
    return true;
  });
  co_return changed ? co_await show(std::move(call)) : error_reply(changed.error());
}

// Verifies the worker, then releases the holds of ended drains and of its rejoining. An operator's own cordon
// stays.
Task<HttpResponse> WorkersService::give_back(Call call) {
  const WorkerId id(call.param("id"));
  auto changed = co_await c_.owner.change<bool>([&](Batch& batch) -> Result<bool> {
    const auto& fleet = c_.fleet();
    if (!fleet.find(id)) return fail(no_such("worker", id.value));
    if (const auto* drain = fleet.active_drain_of(id)) {
      return fail(Code::conflict, "{} is still being drained by {}: wait for it, or cancel it", id,
                  drain->id);
    }
    const auto* at = c_.seen().find(id);
    if (!at || at->liveness != Liveness::ready)
      return fail(Code::conflict, "{} does not answer: its agent must report before it can take work", id);
    if (!at->report.disk_daemon_up)
      return fail(Code::conflict,
                  "the disk daemon of {} does not answer its agent: start ebb-diskd there first", id);
    if (!at->is_current())
      return fail(Code::busy, "{} has not yet confirmed the newest wanted set: try again in a moment", id);
    for (const auto* hold : fleet.holds_on(id)) {
      if (hold->owner == "operator") continue;
      const auto* due = drain_of(fleet, *hold);
      if (due && !is_ended(due->state)) continue;  // that is to come
      batch.erase(*hold);
      batch.journal("worker.returned", "workers/" + id.value,
                    fmt::format("verified, hold of {} released", hold->owner));
    }
    return true;
  });
  co_return changed ? co_await show(std::move(call)) : error_reply(changed.error());
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
