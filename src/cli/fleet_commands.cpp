#include "base/text.h"
#include "cli/commands.h"
#include "cli/fleet_view.h"

namespace ebb {
namespace {

Exit show_one(Context& c, const WorkerView& view) {
  c.show(view, workers_table({view}, c.now()));
  return Exit::ok;
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

Task<Result<Exit>> cordon_worker(Context& c, WorkerId id, CordonWorker wish) {
  EBB_CO_TRY(view, co_await c.client.cordon(id, std::move(wish)));
  co_return show_one(c, view);
}

Task<Result<Exit>> uncordon_worker(Context& c, WorkerId id) {
  EBB_CO_TRY(view, co_await c.client.uncordon(id));
  for (const auto& hold : view.holds) {
    c.screen().say(fmt::format("{} is still held by {}: {}", id, hold.owner, hold.reason));
  }
  co_return show_one(c, view);
}

Task<Result<Exit>> return_worker(Context& c, WorkerId id) {
  EBB_CO_TRY(view, co_await c.client.return_worker(id));
  for (const auto& hold : view.holds) {
    c.screen().say(fmt::format("{} is still held by {}: {}", id, hold.owner, hold.reason));
  }
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
