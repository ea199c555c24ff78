#include "base/text.h"
#include "cli/commands.h"
#include "cli/fleet_view.h"

namespace ebb {
namespace {

Exit show_one(Context& c, const WorkerView& view) {
  c.show(view, workers_table({view}, c.now()));
  return Exit::ok;
}

void say_who_holds(Context& c, const WorkerView& view) {
  for (const auto& hold : view.holds)
    c.screen().say(fmt::format("{} is still held by {}: {}", view.worker.id, hold.owner, hold.reason));
}

}  // namespace

Task<Result<Exit>> list_workers(Context& c) {
  EBB_CO_TRY(workers, co_await c.client.workers());
  c.show(workers, workers_table(workers, c.now()));
  co_return Exit::ok;
}

Task<Result<Exit>> show_worker(Context& c, WorkerId id) {
  EBB_CO_TRY(view, co_await c.client.worker(id));
  c.show(view, worker_page(view, c.now()));
  co_return Exit::ok;
}

Task<Result<Exit>> remove_worker(Context& c, WorkerId id) {
  EBB_CO_CHECKED(co_await c.client.remove_worker(id));
  c.screen().say(fmt::format("worker {} is forgotten", id));
  c.show_removed("workers/" + id.value);
  co_return Exit::ok;
}

// One that is named is shown as one.
Task<Result<Exit>> cordon_workers(Context& c, CordonWorkers wish) {
  if (wish.workers.size() == 1 && !wish.selector) {
    EBB_CO_TRY(view, co_await c.client.cordon(wish.workers[0], {wish.reason, wish.expires_in_ms}));
    co_return show_one(c, view);
  }
  EBB_CO_TRY(views, co_await c.client.cordon_many(std::move(wish)));
  c.show(views, workers_table(views, c.now()));
  co_return Exit::ok;
}

Task<Result<Exit>> uncordon_workers(Context& c, UncordonWorkers wish) {
  if (wish.workers.size() == 1 && !wish.selector) {
    EBB_CO_TRY(view, co_await c.client.uncordon(wish.workers[0]));
    say_who_holds(c, view);
    co_return show_one(c, view);
  }
  EBB_CO_TRY(views, co_await c.client.uncordon_many(std::move(wish)));
  for (const auto& view : views) say_who_holds(c, view);
  c.show(views, workers_table(views, c.now()));
  co_return Exit::ok;
}

Task<Result<Exit>> return_worker(Context& c, ReturnOptions options) {
  const auto& id = options.worker;
  ReturnWorker wish;
  if (options.untested) wish.untested = true;
  EBB_CO_TRY(view, co_await c.client.return_worker(id, wish));
  const bool is_tested = view.worker.is_returning();
  if (is_tested) c.screen().say(fmt::format("test VM {} starts on {}", view.worker.returning->vm, id));
  if (is_tested && options.detach) {
    c.screen().say(fmt::format("{} takes VMs when that has run; 'ebb why {}' tells", id, id));
    co_return show_one(c, view);
  }
  c.farewell = fmt::format("{} takes VMs when its test VM has run; 'ebb why {}' tells", id, id);
  std::function<Task<Result<WorkerView>>()> ask = [&] { return c.client.worker(id); };
  std::function<void(const Error&)> on_silence = [&](const Error& error) {
    c.screen().say(error.message + "; trying on");
  };
  while (view.worker.is_returning()) {
    co_await sleep_for(c.env.loop, poll_interval);
    EBB_CO_TRY(next, co_await ask_patiently(c, ask, on_silence));
    view = std::move(next);
  }
  if (is_tested && view.worker.returning)
    co_return fail(Code::conflict, "{} has not returned: {}", id, view.worker.returning->error);
  say_who_holds(c, view);
  co_return show_one(c, view);
}

Task<Result<Exit>> list_disks(Context& c) {
  EBB_CO_TRY(disks, co_await c.client.disks());
  c.show(disks, disks_table(disks, c.now()));
  co_return Exit::ok;
}

Task<Result<Exit>> show_disk(Context& c, DiskId id) {
  EBB_CO_TRY(disk, co_await c.client.disk(id));
  c.show(disk, disks_table({disk}, c.now()));
  co_return Exit::ok;
}

// ---- why ----

namespace {

Task<Result<WhyAnswer>> why_of_drain(Context& c, DrainId id) {
  EBB_CO_TRY(view, co_await c.client.drain(id));
  co_return why_drain(view);
}

Task<Result<WhyAnswer>> find_why(Context& c, std::string subject) {
  auto slash = subject.find('/');
  if (slash != std::string::npos) {
    auto kind = subject.substr(0, slash), name = subject.substr(slash + 1);
    if (kind == "workers") co_return co_await c.client.why_worker(WorkerId(name));
    if (kind == "vms") co_return co_await c.client.why_vm(VmId(name));
    if (kind == "drains") co_return co_await why_of_drain(c, DrainId(name));
    if (kind == "disks") co_return co_await c.client.why_disk(DiskId(name));
    co_return fail(Code::invalid, "'{}' has no why: give workers/NAME, vms/NAME, drains/ID or disks/ID",
                   subject);
  }
  auto answer = co_await c.client.why_worker(WorkerId(subject));
  if (answer || answer.error().code != Code::not_found) co_return answer;
  answer = co_await c.client.why_vm(VmId(subject));
  if (answer || answer.error().code != Code::not_found) co_return answer;
  answer = co_await why_of_drain(c, DrainId(subject));
  if (answer || answer.error().code != Code::not_found) co_return answer;
  answer = co_await c.client.why_disk(DiskId(subject));
  if (answer || answer.error().code != Code::not_found) co_return answer;
  co_return fail(Code::not_found, "there is no worker, VM, drain or disk '{}'", subject);
}

}  // namespace

Task<Result<Exit>> explain_why(Context& c, std::string subject) {
  EBB_CO_TRY(answer, co_await find_why(c, std::move(subject)));
  c.show(answer, why_text(answer, c.now()));
  co_return Exit::ok;
}

// ---- events ----

Task<Result<Exit>> show_events(Context& c, EventsOptions options) {
  auto last = options.since;
  // Never under a redrawn frame, so a broken stream may say so between two lines.
  auto print = [&c, &last](const JournalEntry& entry) {
    last = std::max(last, entry.revision);
    c.screen().out(c.format == Format::json ? json::write_text(entry) + "\n" : event_line(entry));
  };
  std::function<Task<Status>()> listen = [&] { return c.client.events({last, options.follow}, print); };
  if (!options.follow) {
    EBB_CO_CHECKED(co_await listen());
    co_return Exit::ok;
  }
  while (true) {
    EBB_CO_CHECKED(co_await ask_patiently<void>(c, listen, [&c](const Error& error) {
      c.screen().say(fmt::format("{}; trying on", error.message));
    }));
    co_await sleep_for(c.env.loop, poll_interval);  // the server ended the stream: it is restarting
  }
}

}  // namespace ebb
