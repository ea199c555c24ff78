#include <fmt/ranges.h>

#include "control/api/services.h"
#include "control/loops/migration_loop.h"

namespace ebb::control {
namespace {

const Drain* with_request_id(const Fleet& fleet, const std::optional<std::string>& request_id) {
  if (!request_id) return nullptr;
  for (const auto& [id, drain] : fleet.drains()) {
    if (drain.request_id == request_id) return &drain;
  }
  return nullptr;
}

void put_hold(const Fleet& fleet, Batch& batch, const Drain& drain) {
  // The holds of earlier drains of this worker have served: this one's takes their place.
  for (const auto* hold : fleet.holds_on(drain.worker)) {
    if (hold->owner.starts_with("drain:")) batch.erase(*hold);
  }
  batch.put(Hold{HoldId(batch.mint_id("hold")), drain.worker, "drain:" + drain.id.value, drain.reason,
                 batch.now(), std::nullopt});
}

}  // namespace

void DrainsService::add_routes(Router& r) {
  const auto op = Access::operator_token;
  r.add("GET", "/v1/drains", op, [this](Call c) { return list(std::move(c)); });
  r.add("POST", "/v1/drains", op, [this](Call c) { return create(std::move(c)); });
  r.add("GET", "/v1/drains/{id}", op, [this](Call c) { return show(std::move(c)); });
  r.add("POST", "/v1/drains/{id}:cancel", op, [this](Call c) { return cancel(std::move(c)); });
  r.add("GET", "/v1/migrations", op, [this](Call c) { return list_migrations(std::move(c)); });
  r.add("GET", "/v1/migrations/{id}", op, [this](Call c) { return show_migration(std::move(c)); });
  r.add("POST", "/v1/migrations/{id}:cancel", op, [this](Call c) { return cancel_migration(std::move(c)); });
}

Task<HttpResponse> DrainsService::list(Call call) {
  const bool active = call.query.contains("active") && call.query["active"] == "true";
  co_return reply_or_error(page_of<DrainView>(c_, c_.fleet().drains(), call,
                                              [&](const Drain& d) { return !active || !is_ended(d.state); }));
}

Task<HttpResponse> DrainsService::show(Call call) {
  const auto* drain = c_.fleet().find(DrainId(call.param("id")));
  co_return drain ? reply_with(view_of(c_, *drain)) : error_reply(no_such("drain", call.param("id")));
}

Status DrainsService::check_wish(const CreateDrain& wish) const {
  if (!c_.fleet().find(wish.worker)) return fail(no_such("worker", wish.worker.value));
  EBB_CHECKED(check_length("reason", wish.reason, reason_bytes_max));
  EBB_CHECKED(check_length("request_id", wish.request_id.value_or(""), word_bytes_max));
  const auto& options = wish.options;
  if (options.parallel_max < 1 || options.parallel_max > 1000)
    return fail_field("options.parallel_max", "'options.parallel_max' must be between 1 and 1000");
  if (options.per_target_max < 1 || options.per_target_max > 1000)
    return fail_field("options.per_target_max", "'options.per_target_max' must be between 1 and 1000");
  if (options.source_dead && c_.seen().is_ready(wish.worker)) {
    return fail_field("options.source_dead", "{} answers: it cannot be declared dead; drain it without that",
                      wish.worker);
  }
  return {};
}

DrainPlan DrainsService::make_plan(const CreateDrain& wish) {
  auto plan = plan_drain(c_.fleet(), c_.seen(), wish.worker, wish.options, std::nullopt, c_.loop.wall_now());
  auto facts = drain::state_facts(c_.fleet(), c_.seen(), wish.worker);
  plan.state_hash = drain::hash_of(facts);
  planned_from_.emplace_back(plan.state_hash, std::move(facts));
  if (planned_from_.size() > plans_kept_max) planned_from_.pop_front();
  return plan;
}

// That a plan which is to be carried out was made from what is now; if not, says what is different.
Status DrainsService::check_is_fresh(const CreateDrain& wish) const {
  if (!wish.state_hash) return {};
  const auto now = drain::state_facts(c_.fleet(), c_.seen(), wish.worker);
  if (*wish.state_hash == drain::hash_of(now)) return {};
  constexpr std::size_t shown_max = 5;
  std::vector<std::string> changed;
  for (const auto& [hash, then] : planned_from_) {
    if (hash == *wish.state_hash) changed = drain::differences(then, now);
  }
  if (changed.size() > shown_max) {
    auto more = changed.size() - shown_max;
    changed.resize(shown_max);
    changed.push_back(fmt::format("and {} more", more));
  }
  return fail(Error{Code::conflict,
                    fmt::format("the fleet has changed since that plan was made{}{}: plan again",
                                changed.empty() ? "" : ": ", fmt::join(changed, "; ")),
                    "state_hash"});
}

Task<HttpResponse> DrainsService::create(Call call) {
  auto wish = body_of<CreateDrain>(call);
  if (!wish) co_return error_reply(wish.error());
  if (auto status = check_wish(*wish); !status) co_return error_reply(status.error());
  if (wish->validate_only) co_return reply_with(make_plan(*wish));
  bool created = false;
  auto id = co_await c_.owner.change<DrainId>([&](Batch& batch) -> Result<DrainId> {
    EBB_CHECKED(check_wish(*wish));
    if (const auto* same = with_request_id(c_.fleet(), wish->request_id)) return same->id;
    if (const auto* active = c_.fleet().active_drain_of(wish->worker)) {
      if (!wish->options.source_dead || active->options.source_dead) return active->id;
      return fail(Code::conflict,
                  "{} is being drained by {} as a living worker: cancel that first, then declare it dead",
                  wish->worker, active->id);
    }
    EBB_CHECKED(check_is_fresh(*wish));
    Drain drain;
    drain.id = DrainId(batch.mint_id("drain"));
    drain.worker = wish->worker, drain.reason = wish->reason, drain.options = wish->options;
    drain.requested_by = "operator", drain.created_at = batch.now(), drain.request_id = wish->request_id;
    batch.put(drain);
    put_hold(c_.fleet(), batch, drain);
    batch.journal("drain.created", "drains/" + drain.id.value,
                  fmt::format("{} takes nothing new and is emptied{}", drain.worker,
                              drain.reason.empty() ? "" : ": " + drain.reason));
    created = true;
    return drain.id;
  });
  if (!id) co_return error_reply(id.error());
  co_return reply_with(view_of(c_, *c_.fleet().find(*id)), created ? 201 : 200);
}

Task<HttpResponse> DrainsService::cancel(Call call) {
  const DrainId id(call.param("id"));
  auto changed = co_await c_.owner.change<bool>([&](Batch& batch) -> Result<bool> {
    const auto* drain = c_.fleet().find(id);
    if (!drain) return fail(no_such("drain", id.value));
    if (drain->state == DrainState::cancelled) return true;
    if (is_ended(drain->state))
      return fail(Code::conflict, "{} has ended already: it is {}", id, json::name_of(drain->state));
    auto next = *drain;
    next.state = DrainState::cancelled, next.ended_at = batch.now(),
    next.end_reason = "cancelled by an operator";
    batch.put(next);
    for (const auto* hold : c_.fleet().holds_on(drain->worker)) {
      if (hold->owner == "drain:" + id.value) batch.erase(*hold);
    }
    batch.journal("drain.cancelled", "drains/" + id.value,
                  "moves before their point of no return go back; the others go on");
    return true;
  });
  co_return changed ? co_await show(std::move(call)) : error_reply(changed.error());
}

Task<HttpResponse> DrainsService::list_migrations(Call call) {
  auto wanted = [&](const std::string& name, const std::string& value) {
    return !call.query.contains(name) || call.query.at(name) == value;
  };
  co_return reply_or_error(page_of<MigrationView>(c_, c_.fleet().migrations(), call, [&](const Migration& m) {
    return wanted("vm", m.vm.value) && wanted("drain", m.drain ? m.drain->value : "");
  }));
}

Task<HttpResponse> DrainsService::show_migration(Call call) {
  const auto* m = c_.fleet().find(MigrationId(call.param("id")));
  co_return m ? reply_with(view_of(c_, *m)) : error_reply(no_such("migration", call.param("id")));
}

Task<HttpResponse> DrainsService::cancel_migration(Call call) {
  const MigrationId id(call.param("id"));
  auto changed = co_await c_.owner.change<bool>([&](Batch& batch) -> Result<bool> {
    const auto* m = c_.fleet().find(id);
    if (!m) return fail(no_such("migration", id.value));
    if (m->phase == Phase::aborting || m->phase == Phase::aborted) return true;
    if (m->phase == Phase::done)
      return fail(Code::conflict, "{} has ended already: {} is on {}", id, m->vm, m->target);
    if (const auto* drain = m->drain ? c_.fleet().find(*m->drain) : nullptr;
        drain && !is_ended(drain->state)) {
      return fail(Code::conflict, "{} belongs to {}, which would only move {} again: cancel the drain", id,
                  drain->id, m->vm);
    }
    EBB_CHECKED(
        apply_event(c_.fleet(), batch, *m, {migration::EventKind::cancel, "an operator cancelled it", 0}));
    return true;
  });
  co_return changed ? co_await show_migration(std::move(call)) : error_reply(changed.error());
}

}  // namespace ebb::control
