#include <fmt/ranges.h>

#include "base/text.h"
#include "control/api/services.h"
#include "control/loops/drain_undo.h"
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

Status check_options(const DrainOptions& options) {
  if (options.parallel_max < 1 || options.parallel_max > 1000)
    return fail_field("options.parallel_max", "'options.parallel_max' must be between 1 and 1000");
  if (options.per_target_max < 1 || options.per_target_max > 1000)
    return fail_field("options.per_target_max", "'options.per_target_max' must be between 1 and 1000");
  if (options.deadline_ms && *options.deadline_ms > deadline_ms_max)
    return fail_field("options.deadline_ms", "'options.deadline_ms' must not be over {} (a year)",
                      deadline_ms_max);
  if (options.at_deadline == AtDeadline::force && !options.deadline_ms)
    return fail_field("options.deadline_ms", "what is forced at a deadline needs one: 'options.deadline_ms'");
  if (options.many_dead.value_or(false) && !options.source_dead)
    return fail_field("options.many_dead",
                      "'options.many_dead' is about workers that are declared dead: "
                      "'options.source_dead'");
  return {};
}

}  // namespace

void DrainsService::add_routes(Router& r) {
  const auto op = Access::operator_token;
  r.add("GET", "/v1/drains", op, [this](Call c) { return list(std::move(c)); });
  r.add("POST", "/v1/drains", op, [this](Call c) { return create(std::move(c)); });
  r.add("GET", "/v1/drains/{id}", op, [this](Call c) { return show(std::move(c)); });
  r.add("POST", "/v1/drains/{id}:cancel", op, [this](Call c) { return cancel(std::move(c)); });
  r.add("POST", "/v1/drains/{id}:pause", op, [this](Call c) { return pause(std::move(c), true); });
  r.add("POST", "/v1/drains/{id}:resume", op, [this](Call c) { return pause(std::move(c), false); });
  r.add("POST", "/v1/drains/{id}:undo", op, [this](Call c) { return undo(std::move(c)); });
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

// The workers of a wish, each once; invalid, not_found: there is none, or it may not be drained so.
Result<DrainScope> DrainsService::scope_of_wish(const CreateDrain& wish) const {
  EBB_CHECKED(check_length("reason", wish.reason, reason_bytes_max));
  EBB_CHECKED(check_length("request_id", wish.request_id.value_or(""), word_bytes_max));
  EBB_CHECKED(check_options(wish.options));
  if (wish.begins_in_ms && *wish.begins_in_ms > deadline_ms_max)
    return fail_field("begins_in_ms", "'begins_in_ms' must not be over {} (a year)", deadline_ms_max);
  EBB_TRY(chosen, workers_by(c_.fleet(), wish.workers, wish.selector));
  if (chosen.size() > drain_workers_max)
    return fail_field("workers", "{} workers: one drain takes at most {}", chosen.size(), drain_workers_max);
  for (const auto& id : chosen) {
    if (wish.options.source_dead && c_.seen().is_ready(id))
      return fail_field("options.source_dead",
                        "{} answers: it cannot be declared dead; drain it without that", id);
  }
  return DrainScope{{chosen.begin(), chosen.end()}, wish.selector, {wish.options}};
}

DrainPlan DrainsService::make_plan(const DrainScope& scope) {
  auto plan = plan_drain(c_.fleet(), c_.seen(), scope, c_.reconciler.limits().pace, c_.loop.wall_now());
  drain::StateFacts facts(c_.fleet(), c_.seen(), scope.workers);
  plan.state_hash = facts.hash();
  planned_from_.emplace_back(plan.state_hash, std::move(facts));
  if (planned_from_.size() > plans_kept_max) planned_from_.pop_front();
  return plan;
}

// That a plan which is to be carried out was made from what is now; if not, says what is different.
Status DrainsService::check_is_fresh(const CreateDrain& wish, const DrainScope& scope) const {
  if (!wish.state_hash) return {};
  const drain::StateFacts now(c_.fleet(), c_.seen(), scope.workers);
  if (*wish.state_hash == now.hash()) return {};
  constexpr std::size_t shown_max = 5;
  std::vector<std::string> changed;
  for (const auto& [hash, then] : planned_from_) {
    if (hash == *wish.state_hash) changed = then.differences(now);
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

// The drain that does what is wished already; null: there is none. conflict: others have some of the workers.
Result<const Drain*> DrainsService::find_running(const CreateDrain& wish, const DrainScope& scope) const {
  if (const auto* same = with_request_id(c_.fleet(), wish.request_id)) return same;
  if (wish.begins_in_ms) return nullptr;  // who knows what is drained then
  for (const auto& worker : scope.workers) {
    const auto* active = c_.fleet().active_drain_of(worker);
    if (!active) continue;
    if (active->state == DrainState::undoing)
      return fail(Code::conflict, "{} is being undone, and {} gets its VMs back: wait for that, or cancel it",
                  active->id, worker);
    if (active->workers != scope.workers)
      return fail(Code::conflict, "{} is being drained by {} ({}): cancel that first, or leave {} out",
                  worker, active->id, text_of(active->workers, active->selector), worker);
    if (!wish.options.source_dead || active->options.source_dead) return active;
    return fail(Code::conflict,
                "{} is being drained by {} as a living worker: cancel that first, then declare it dead",
                worker, active->id);
  }
  return nullptr;
}

Result<DrainId> DrainsService::create_in(Batch& batch, const CreateDrain& wish, bool& created) const {
  EBB_TRY(scope, scope_of_wish(wish));
  EBB_TRY(running, find_running(wish, scope));
  if (running) {
    if (wish.options.many_dead.value_or(false) && !running->options.many_dead.value_or(false)) {
      auto next = *running;
      next.options.many_dead = true;
      batch.put(next);
      batch.journal("drain.many_dead", "drains/" + next.id.value,
                    "an operator says that so many workers are dead: the brake does not hold it");
    }
    return running->id;
  }
  EBB_CHECKED(check_is_fresh(wish, scope));
  Drain drain;
  drain.id = DrainId(batch.mint_id("drain"));
  drain.workers = scope.workers, drain.selector = scope.selector;
  drain.reason = wish.reason, drain.options = wish.options;
  drain.requested_by = "operator", drain.created_at = batch.now(), drain.request_id = wish.request_id;
  const auto who = text_of(drain.workers, drain.selector);
  auto text = fmt::format("{}: nothing new goes there, and everything leaves", who);
  if (wish.begins_in_ms) {
    drain.state = DrainState::scheduled;
    drain.begins_at = batch.now() + static_cast<WallMs>(*wish.begins_in_ms);
    text = fmt::format("{}: everything leaves from {} on", who, format_time(*drain.begins_at));
  } else {
    hold_workers(c_.fleet(), drain, batch);
  }
  batch.put(drain);
  batch.journal("drain.created", "drains/" + drain.id.value,
                text + (drain.reason.empty() ? "" : ": " + drain.reason));
  created = true;
  return drain.id;
}

Status DrainsService::check_may_undo(const Drain& drain) const {
  if (drain.state == DrainState::scheduled)
    return fail(Code::conflict, "{} has not begun: cancel it", drain.id);
  for (const auto& worker : drain.workers)
    if (const auto* other = c_.fleet().active_drain_of(worker); other && other->id != drain.id)
      return fail(Code::conflict, "{} is being drained by {}: nothing can go back there; cancel that first",
                  worker, other->id);
  return {};
}

Task<HttpResponse> DrainsService::undo(Call call) {
  const DrainId id(call.param("id"));
  auto wish = body_of<UndoDrain>(call);
  if (!wish) co_return error_reply(wish.error());
  if (wish->validate_only) {
    const auto* drain = c_.fleet().find(id);
    if (!drain) co_return error_reply(no_such("drain", id.value));
    if (auto may = check_may_undo(*drain); !may) co_return error_reply(may.error());
    co_return reply_with(plan_undo(c_.fleet(), c_.seen(), *drain));
  }
  auto changed = co_await c_.owner.change<bool>([&](Batch& batch) -> Result<bool> {
    const auto* drain = c_.fleet().find(id);
    if (!drain) return fail(no_such("drain", id.value));
    if (drain->state == DrainState::undoing || drain->state == DrainState::undone) return true;
    EBB_CHECKED(check_may_undo(*drain));
    auto next = *drain;
    next.state = DrainState::undoing;
    next.ended_at.reset(), next.end_reason.clear(), next.forced_at.reset();
    batch.put(next);
    batch.journal("drain.undoing", "drains/" + id.value, "its VMs go back to where they were");
    release_holds(c_.fleet(), *drain, batch);
    return true;
  });
  co_return changed ? co_await show(std::move(call)) : error_reply(changed.error());
}

Task<HttpResponse> DrainsService::create(Call call) {
  auto wish = body_of<CreateDrain>(call);
  if (!wish) co_return error_reply(wish.error());
  auto scope = scope_of_wish(*wish);
  if (!scope) co_return error_reply(scope.error());
  if (wish->validate_only) co_return reply_with(make_plan(*scope));
  bool created = false;
  auto id = co_await c_.owner.change<DrainId>([&](Batch& batch) { return create_in(batch, *wish, created); });
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
    next.end_reason = drain->state == DrainState::undoing ? "its undo was cancelled by an operator"
                                                          : "cancelled by an operator";
    batch.put(next);
    batch.journal("drain.cancelled", "drains/" + id.value,
                  "moves before their point of no return go back; the others go on");
    release_holds(c_.fleet(), *drain, batch);
    return true;
  });
  co_return changed ? co_await show(std::move(call)) : error_reply(changed.error());
}

Task<HttpResponse> DrainsService::pause(Call call, bool is_paused) {
  const DrainId id(call.param("id"));
  auto changed = co_await c_.owner.change<bool>([&](Batch& batch) -> Result<bool> {
    const auto* drain = c_.fleet().find(id);
    if (!drain) return fail(no_such("drain", id.value));
    const auto from = is_paused ? DrainState::running : DrainState::paused;
    const auto to = is_paused ? DrainState::paused : DrainState::running;
    if (drain->state == to) return true;
    if (drain->state != from)
      return fail(Code::conflict, "{} is {}: only one that is {} can be {}", id, json::name_of(drain->state),
                  json::name_of(from), is_paused ? "paused" : "resumed");
    auto next = *drain;
    next.state = to;
    batch.put(next);
    batch.journal(is_paused ? "drain.paused" : "drain.resumed", "drains/" + id.value,
                  is_paused ? "moves that are under way end, and no other begins" : "goes on");
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
