#include "control/api/services.h"

namespace ebb::control {

void BudgetsService::add_routes(Router& r) {
  const auto op = Access::operator_token;
  r.add("GET", "/v1/budgets", op, [this](Call c) { return list(std::move(c)); });
  r.add("POST", "/v1/budgets", op, [this](Call c) { return put(std::move(c)); });
  r.add("GET", "/v1/budgets/{id}", op, [this](Call c) { return show(std::move(c)); });
  r.add("DELETE", "/v1/budgets/{id}", op, [this](Call c) { return remove(std::move(c)); });
}

Task<HttpResponse> BudgetsService::list(Call call) {
  co_return reply_or_error(page_of<BudgetView>(c_, c_.fleet().budgets(), call, keep_all));
}

Task<HttpResponse> BudgetsService::show(Call call) {
  const auto* budget = c_.fleet().find(BudgetId(call.param("id")));
  co_return budget ? reply_with(view_of(c_, *budget)) : error_reply(no_such("budget", call.param("id")));
}

Result<bool> BudgetsService::put_in(Batch& batch, const PutBudget& wish) const {
  if (!is_valid_name(wish.id.value))
    return fail_field("id", "'{}' is no name: 1 to 63 of a-z, 0-9 and '-', first and last not '-'", wish.id);
  EBB_CHECKED(check_labels("selector", wish.selector));
  if (!wish.away_max && !wish.present_min)
    return fail_field("away_max", "a budget needs 'away_max', 'present_min', or both");
  if (wish.healthy_ms > healthy_ms_max)
    return fail_field("healthy_ms", "'healthy_ms' must not be over {} (a day)", healthy_ms_max);
  const auto* old = c_.fleet().find(wish.id);
  if (!old && c_.fleet().budgets().size() >= budgets_max)
    return fail(Code::conflict, "there are {} budgets, and no more are taken", budgets_max);
  Budget next{wish.id,          wish.selector,   wish.away_max,
              wish.present_min, wish.healthy_ms, old ? old->created_at : batch.now()};
  if (old && *old == next) return false;
  batch.put(next);
  batch.journal(old ? "budget.changed" : "budget.created", "budgets/" + wish.id.value,
                fmt::format("VMs with {}: away at most {}, present at least {}",
                            wish.selector.empty() ? "any labels" : text_of(wish.selector),
                            wish.away_max ? fmt::format("{}", *wish.away_max) : "any number",
                            wish.present_min.value_or(0)));
  return !old;
}

Task<HttpResponse> BudgetsService::put(Call call) {
  auto wish = body_of<PutBudget>(call);
  if (!wish) co_return error_reply(wish.error());
  auto is_new = co_await c_.owner.change<bool>([&](Batch& batch) { return put_in(batch, *wish); });
  if (!is_new) co_return error_reply(is_new.error());
  const auto* budget = c_.fleet().find(wish->id);
  if (!budget) co_return error_reply(no_such("budget", wish->id.value));  // removed meanwhile
  co_return reply_with(view_of(c_, *budget), *is_new ? 201 : 200);
}

Task<HttpResponse> BudgetsService::remove(Call call) {
  const BudgetId id(call.param("id"));
  auto changed = co_await c_.owner.change<bool>([&](Batch& batch) -> Result<bool> {
    const auto* budget = c_.fleet().find(id);
    if (!budget) return fail(no_such("budget", id.value));
    batch.erase(*budget);
    batch.journal("budget.removed", "budgets/" + id.value, "removed");
    return true;
  });
  if (!changed) co_return error_reply(changed.error());
  HttpResponse reply;
  reply.status = 204;
  co_return reply;
}

}  // namespace ebb::control
