#include "base/text.h"
#include "cli/commands.h"
#include "cli/drain_view.h"
#include "cli/fleet_view.h"

namespace ebb {
namespace {

// Shows a drain as it goes: redrawn in place on a terminal, line by line elsewhere. With --json the lines are
// talk.
class DrainProgress final {
 public:
  DrainProgress(Context& c, DrainPlan plan)
      : c_(c),
        plan_(std::move(plan)),
        to_(c.format == Format::json ? Output::talk : Output::data),
        painter_(c.screen(), to_) {}

  void update(const DrainView& view) {
    if (c_.is_live()) {
      painter_.show(drain_frame(view, plan_, {c_.screen().size(), c_.palette()}, c_.now()));
      return;
    }
    for (const auto& line : lines_.update(view, c_.now())) c_.screen().write(to_, line + "\n");
  }
  void on_silence(const DrainId& id, const Error& error) {
    painter_.clear();
    c_.screen().say(fmt::format("{}; drain {} is kept by its records, trying on", error.message, id));
  }
  void end() { painter_.clear(); }

 private:
  Context& c_;
  DrainPlan plan_;
  Output to_;
  LivePainter painter_;
  DrainLines lines_;
};

Exit exit_of(const DrainView& view) {
  const auto state = view.drain.state;
  return state == DrainState::done || state == DrainState::undone ? Exit::ok : Exit::failed;
}

bool is_stuck(const DrainView& view) {
  bool moving = std::any_of(view.migrations.begin(), view.migrations.end(),
                            [](const auto& move) { return !is_ended(move.migration.phase); });
  return view.status == "blocked" && !moving;
}

enum class WhenBlocked { wait, give_up };

Task<Result<Exit>> watch_drain(Context& c, DrainView view, DrainPlan plan, WhenBlocked when_blocked) {
  auto id = view.drain.id;
  c.farewell = fmt::format(
      "drain {} goes on; 'ebb drains show {} --watch' follows it, 'ebb cancel {}' stops it", id, id, id);
  DrainProgress progress(c, std::move(plan));
  std::function<Task<Result<DrainView>>()> ask = [&] { return c.client.drain(id); };
  std::function<void(const Error&)> on_silence = [&](const Error& error) { progress.on_silence(id, error); };
  while (true) {
    progress.update(view);
    if (is_ended(view.drain.state)) break;
    if (when_blocked == WhenBlocked::give_up && is_stuck(view)) {
      progress.end();
      c.screen().say(fmt::format(
          "drain {} is blocked and stays: 'ebb why drains/{}' says by what, 'ebb cancel {}' ends it", id, id,
          id));
      c.show(view, drains_table({view}, c.now()));
      co_return Exit::blocked;
    }
    co_await sleep_for(c.env.loop, poll_interval);
    EBB_CO_TRY(next, co_await ask_patiently(c, ask, on_silence));
    view = std::move(next);
  }
  progress.end();
  c.show(view, drain_summary(view));
  co_return exit_of(view);
}

CreateDrain request_of(Context& c, const DrainCommandOptions& options) {
  CreateDrain request;
  request.workers = options.workers;
  request.selector = options.selector;
  request.reason = options.reason;
  request.options = options.policy;
  request.begins_in_ms = options.begins_in_ms;
  request.request_id = c.env.loop.random().token(20);
  return request;
}

constexpr int plans_max = 5;

bool is_stale_plan(const Error& error) { return error.code == Code::conflict && error.field == "state_hash"; }

// Starts what `plan` shows and nothing else: when the fleet has changed since, there is a new plan to show.
Task<Result<StartedDrain>> start_as_planned(Context& c, CreateDrain request, DrainPlan* plan) {
  // Its request_id makes it safe to ask again when the answer got lost.
  std::function<Task<Result<StartedDrain>>()> start = [&] { return c.client.start_drain(request); };
  std::function<void(const Error&)> on_silence = [&](const Error& error) {
    c.screen().say(error.message + "; trying on");
  };
  for (int plans = 1;; ++plans) {
    if (c.format == Format::text) c.screen().out(plan_text(*plan));
    request.state_hash = plan->state_hash;
    auto started = co_await ask_patiently(c, start, on_silence);
    if (started || !is_stale_plan(started.error()) || plans == plans_max) co_return started;
    c.screen().say(fmt::format("ebb: {}; planning again", started.error().message));
    EBB_CO_TRY(next, co_await c.client.plan_drain(request));
    *plan = std::move(next);
  }
}

}  // namespace

Task<Result<Exit>> drain_workers(Context& c, DrainCommandOptions options) {
  auto request = request_of(c, options);
  EBB_CO_TRY(plan, co_await c.client.plan_drain(request));
  if (options.plan_only) {
    c.show(plan, plan_text(plan));
    co_return plan.blockers.empty() ? Exit::ok : Exit::blocked;
  }
  c.farewell = fmt::format("ebb: interrupted; 'ebb drains' tells whether the drain of {} has begun",
                           text_of(plan.workers, plan.selector));
  EBB_CO_TRY(started, co_await start_as_planned(c, request, &plan));
  const auto& id = started.view.drain.id;
  if (started.existed)
    c.screen().say(fmt::format("{} is being drained already: this is drain {}",
                               text_of(plan.workers, plan.selector), id));
  if (started.view.drain.state == DrainState::scheduled) {
    c.screen().say(fmt::format("drain {} begins at {}; 'ebb cancel {}' calls it off", id,
                               format_time(*started.view.drain.begins_at), id));
    c.show(started.view, id.value + "\n");
    co_return Exit::ok;
  }
  if (options.detach) {
    c.screen().say(fmt::format("drain {} goes on; 'ebb drains show {} --watch' follows it", id, id));
    c.show(started.view, id.value + "\n");
    co_return Exit::ok;
  }
  co_return co_await watch_drain(c, std::move(started.view), std::move(plan),
                                 options.fail_blocked ? WhenBlocked::give_up : WhenBlocked::wait);
}

Task<Result<Exit>> list_drains(Context& c) {
  EBB_CO_TRY(drains, co_await c.client.drains());
  c.show(drains, drains_table(drains, c.now()));
  co_return Exit::ok;
}

Task<Result<Exit>> show_drain(Context& c, ShowDrainOptions options) {
  EBB_CO_TRY(view, co_await c.client.drain(options.drain));
  if (options.watch) co_return co_await watch_drain(c, std::move(view), {}, WhenBlocked::wait);
  std::string text = drain_summary(view);
  if (!is_ended(view.drain.state)) {
    text.clear();
    FrameStyle whole{{c.screen().size().columns, 10'000}, c.palette()};
    if (!c.screen().is_terminal(Output::data)) whole.size.columns = 200;  // nothing is cut for a script
    for (const auto& line : drain_frame(view, {}, whole, c.now())) text += line + "\n";
  }
  c.show(view, text);
  co_return Exit::ok;
}

Task<Result<Exit>> cancel_operation(Context& c, std::string id) {
  auto drain = co_await c.client.cancel_drain(DrainId(id));
  if (drain) {
    c.screen().say(fmt::format("drain {} is {}", id, drain->status));
    c.show(*drain, drains_table({*drain}, c.now()));
    co_return Exit::ok;
  }
  if (drain.error().code != Code::not_found) co_return fail(std::move(drain).error());
  auto migration = co_await c.client.cancel_migration(MigrationId(id));
  if (migration) {
    c.show(*migration, migrations_table({*migration}, c.now()));
    co_return Exit::ok;
  }
  if (migration.error().code != Code::not_found) co_return fail(std::move(migration).error());
  co_return fail(Code::not_found, "there is no drain or migration '{}'", id);
}

Task<Result<Exit>> pause_drain(Context& c, DrainId id) {
  EBB_CO_TRY(view, co_await c.client.pause_drain(id));
  c.show(view, drains_table({view}, c.now()));
  co_return Exit::ok;
}

Task<Result<Exit>> resume_drain(Context& c, DrainId id) {
  EBB_CO_TRY(view, co_await c.client.resume_drain(id));
  c.show(view, drains_table({view}, c.now()));
  co_return Exit::ok;
}

Task<Result<Exit>> undo_drain(Context& c, UndoOptions options) {
  EBB_CO_TRY(plan, co_await c.client.plan_undo(options.drain));
  if (options.plan_only) {
    c.show(plan, undo_text(plan));
    co_return plan.blockers.empty() ? Exit::ok : Exit::blocked;
  }
  if (c.format == Format::text) c.screen().out(undo_text(plan));
  EBB_CO_TRY(view, co_await c.client.undo_drain(options.drain));
  if (options.detach) {
    c.show(view, drains_table({view}, c.now()));
    co_return Exit::ok;
  }
  co_return co_await watch_drain(c, std::move(view), {}, WhenBlocked::wait);
}

// ---- one VM ----

namespace {

Task<Result<Exit>> watch_migration(Context& c, MigrationView view) {
  auto id = view.migration.id;
  c.farewell = fmt::format(
      "migration {} goes on; 'ebb migrations show {}' shows it, 'ebb cancel {}' stops it", id, id, id);
  std::function<Task<Result<MigrationView>>()> ask = [&] { return c.client.migration(id); };
  std::function<void(const Error&)> on_silence = [&](const Error& error) {
    c.screen().say(error.message + "; trying on");
  };
  std::size_t told = 0;
  while (true) {
    const auto& m = view.migration;
    for (; told < m.history.size(); ++told) {
      c.screen().say(
          fmt::format("{}  {}  {} -> {}", m.vm, json::name_of(m.history[told].phase), m.source, m.target));
    }
    if (is_ended(m.phase)) break;
    co_await sleep_for(c.env.loop, poll_interval);
    EBB_CO_TRY(next, co_await ask_patiently(c, ask, on_silence));
    view = std::move(next);
  }
  c.show(view, migrations_table({view}, c.now()));
  co_return view.migration.phase == Phase::done ? Exit::ok : Exit::failed;
}

}  // namespace

Task<Result<Exit>> migrate_vm(Context& c, MigrateOptions options) {
  EBB_CO_TRY(view,
             co_await c.client.migrate_vm(options.vm, {options.target, options.reason, options.source_dead}));
  if (options.wait) co_return co_await watch_migration(c, std::move(view));
  c.show(view, migrations_table({view}, c.now()));
  co_return Exit::ok;
}

Task<Result<Exit>> list_migrations(Context& c, MigrationFilter filter) {
  EBB_CO_TRY(migrations, co_await c.client.migrations(std::move(filter)));
  c.show(migrations, migrations_table(migrations, c.now()));
  co_return Exit::ok;
}

Task<Result<Exit>> show_migration(Context& c, MigrationId id) {
  EBB_CO_TRY(view, co_await c.client.migration(id));
  c.show(view, migration_page(view, c.now()));
  co_return Exit::ok;
}

}  // namespace ebb
