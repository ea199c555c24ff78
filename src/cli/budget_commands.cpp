// Budgets, and holds by their age.
#include "base/text.h"
#include "cli/command_builder.h"
#include "cli/fleet_view.h"

namespace ebb {
namespace {

Task<Result<Exit>> list_budgets(Context& c) {
  EBB_CO_TRY(budgets, co_await c.client.budgets());
  c.show(budgets, budgets_table(budgets));
  co_return Exit::ok;
}

Task<Result<Exit>> show_budget(Context& c, BudgetId id) {
  EBB_CO_TRY(budget, co_await c.client.budget(id));
  c.show(budget, budgets_table({budget}));
  co_return Exit::ok;
}

Task<Result<Exit>> set_budget(Context& c, PutBudget wish) {
  EBB_CO_TRY(budget, co_await c.client.put_budget(std::move(wish)));
  c.show(budget, budgets_table({budget}));
  if (!budget.impossible.empty()) c.screen().say("warning: " + budget.impossible);
  if (budget.vms == 0)
    c.screen().say(
        fmt::format("budget {} is about no VM yet: none that shall run has its labels", budget.budget.id));
  co_return Exit::ok;
}

Task<Result<Exit>> remove_budget(Context& c, BudgetId id) {
  EBB_CO_CHECKED(co_await c.client.remove_budget(id));
  c.screen().say(fmt::format("budget {} is removed", id));
  c.show_removed("budgets/" + id.value);
  co_return Exit::ok;
}

// The oldest first: those are forgotten.
Task<Result<Exit>> list_holds(Context& c) {
  EBB_CO_TRY(holds, co_await c.client.holds());
  std::ranges::sort(holds, {}, [](const Hold& h) { return std::tie(h.since, h.id); });
  c.show(holds, holds_table(holds, c.now()));
  co_return Exit::ok;
}

}  // namespace

void add_budget_commands(Builder& b) {
  auto* budgets = b.command("budgets", "list budgets: how many of a set of VMs may be away at once");
  budgets->alias("budget");
  b.on_list(budgets, list_budgets);
  b.on_one(budgets, "show", "one budget", "BUDGET", show_budget);
  b.on_one(budgets, "rm", "forget a budget: its VMs may all move at once", "BUDGET", remove_budget);
  struct Texts {
    std::string name, healthy;
    std::vector<std::string> labels;
    std::uint32_t away_max = 0, present_min = 0;
  };
  auto t = std::make_shared<Texts>();
  auto* set = b.command(budgets, "set", "make a budget, or change it");
  set->add_option("NAME", t->name)->required();
  set->add_option("--label", t->labels,
                  "KEY=VALUE: of the VMs that it is about; may be repeated; without: all VMs")
      ->allow_extra_args(false);
  auto* away = set->add_option("--away-max", t->away_max, "so many of them may be away at once");
  auto* present = set->add_option("--present-min", t->present_min, "so many of them stay");
  set->add_option("--healthy", t->healthy,
                  "a VM that has moved counts as away until it has run so long, as 30s");
  b.on(set, [=] {
    PutBudget wish{BudgetId(t->name), parse_labels("--label", t->labels)};
    if (away->count() > 0) wish.away_max = t->away_max;
    if (present->count() > 0) wish.present_min = t->present_min;
    if (!wish.away_max && !wish.present_min) refuse("--away-max", "say --away-max, --present-min, or both");
    if (!t->healthy.empty()) {
      const auto healthy = value_or_refuse(parse_duration(t->healthy), "--healthy");
      if (healthy > 24h) refuse("--healthy", "must not be over a day");
      wish.healthy_ms = static_cast<std::uint32_t>(to_ms(healthy));
    }
    return [wish](Context& c) { return set_budget(c, wish); };
  });
  b.on_list(b.command("holds", "list what keeps workers from new VMs, the oldest first"), list_holds);
}

}  // namespace ebb
