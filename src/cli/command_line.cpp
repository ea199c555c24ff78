#include "cli/command_line.h"

#include <sstream>

#include "base/text.h"
#include "cli/command_builder.h"

namespace ebb {
namespace {

constexpr const char* footer = R"(
Data goes to stdout, talk to stderr. --json prints what the API answered: one document (events: one a line).

Environment:
  EBB_SERVER       the control plane's address (default 127.0.0.1:7400)
  EBB_TOKEN        the operator's token
  EBB_TOKEN_FILE   a file that holds it
  NO_COLOR         no colours

Exit codes:
  0    ok
  1    failed: the operation ended without success, or an error of the server
  2    wrong command line or bad input (a missing or wrong token too)
  3    blocked: the plan does not fit (drain --plan, drain --fail-blocked)
  4    not found
  5    the control plane cannot be reached, or cannot serve now
  6    conflict: changed or used by somebody else
  125  exec: the program was not run, or its end is not known; other statuses of exec are the program's
  130  interrupted by Ctrl-C; what runs on the server goes on
)";
// Workers by name, and by label.
struct Selection {
  std::vector<std::string> workers{}, labels{};
};

std::shared_ptr<Selection> add_selection(CLI::App* command) {
  auto chosen = std::make_shared<Selection>();
  command->add_option("WORKER", chosen->workers);
  command
      ->add_option("--selector", chosen->labels,
                   "KEY=VALUE: workers with this label; may be repeated: with all of them")
      ->allow_extra_args(false);
  for (const char* domain : {"rack", "zone"}) {
    command->add_option_function<std::string>(
        fmt::format("--{}", domain),
        [chosen, domain](const std::string& value) {
          chosen->labels.push_back(fmt::format("{}={}", domain, value));
        },
        fmt::format("short for --selector {}=NAME", domain));
  }
  return chosen;
}

// Into a wish that has `workers` and `selector`.
void read_selection(const Selection& chosen, auto& wish) {
  if (chosen.workers.empty() && chosen.labels.empty())
    refuse("WORKER", "name a worker, or --rack, --zone or --selector");
  for (const auto& worker : chosen.workers) wish.workers.emplace_back(worker);
  if (!chosen.labels.empty()) wish.selector = parse_labels("--selector", chosen.labels);
}

void add_worker_commands(Builder& b, CLI::App& app) {
  auto* workers = b.command("workers", "list workers");
  b.on_list(workers, list_workers);
  workers->alias("worker");
  b.on_one(workers, "show", "everything about one worker", "WORKER", show_worker);
  b.on_one(workers, "rm", "forget a worker that is empty and silent", "WORKER", remove_worker);

  auto id = std::make_shared<std::string>(), lasts = std::make_shared<std::string>();
  auto wish = std::make_shared<CordonWorkers>();
  auto* cordon = b.command("cordon", "keep new VMs off a worker, or many");
  auto held = add_selection(cordon);
  cordon->add_option("--reason", wish->reason, "why; shown to everybody")->required();
  cordon->add_option("--for", *lasts, "how long, as 2h; without it until somebody releases it");
  b.on(cordon, [=] {
    read_selection(*held, *wish);
    if (!lasts->empty())
      wish->expires_in_ms =
          static_cast<std::uint64_t>(to_ms(value_or_refuse(parse_duration(*lasts), "--for")));
    return [w = *wish](Context& c) { return cordon_workers(c, w); };
  });
  auto* uncordon = b.command("uncordon", "release the operator's hold of a worker, or many");
  auto freed = add_selection(uncordon);
  b.on(uncordon, [=] {
    UncordonWorkers release;
    read_selection(*freed, release);
    return [w = release](Context& c) { return uncordon_workers(c, w); };
  });
  auto back = std::make_shared<ReturnOptions>();
  auto* give_back = b.command("return", "verify a drained worker and let it take VMs again");
  give_back->add_option("WORKER", *id)->required();
  auto* untested = give_back->add_flag("--untested", back->untested,
                                       "start no test VM there: you have seen that it is fit");
  give_back->add_flag("--detach", back->detach, "do not wait for its test VM")->excludes(untested);
  b.on(give_back, [=] {
    back->worker = WorkerId(*id);
    return [o = *back](Context& c) { return return_worker(c, o); };
  });
  b.on_one(&app, "why", "why something is as it is, since when, and who can act", "WORKER|VM|DRAIN|DISK",
           explain_why);
}

void add_drain_commands(Builder& b, CLI::App& app) {
  auto options = std::make_shared<DrainCommandOptions>();
  auto begins_in = std::make_shared<std::string>(), deadline = std::make_shared<std::string>(),
       at_deadline = std::make_shared<std::string>();
  auto* drain = b.command("drain", "move everything off a worker, or many, and keep them empty");
  auto chosen = add_selection(drain);
  drain->add_option("--reason", options->reason, "why; shown to everybody");
  auto* plan =
      drain->add_flag("--plan", options->plan_only, "only show what would happen; exit 3 if it does not fit");
  drain->add_flag("--partial", options->policy.partial, "move what can be placed although some VMs cannot");
  drain->add_flag("--dead", options->policy.source_dead,
                  "you declare them dead: their disks are taken over, nothing of them is waited for");
  drain->add_flag("--many-dead", options->many_dead,
                  "you have seen that so many workers are dead at once, and that it is not the network");
  drain->add_option("--in", *begins_in,
                    "begin after so long, as 8h; nothing new goes there from the horizon on");
  drain->add_option("--deadline", *deadline, "by when it should have ended, as 2h after it has begun");
  drain
      ->add_option(
          "--at-deadline", *at_deadline,
          "wait: it goes on as before (default); force: budgets and times to stop in do not count any more")
      ->type_name("wait|force");
  drain->add_flag("--no-make-room", options->no_make_room, "move no VMs of other workers to make room");
  drain->add_flag("--no-finish", options->no_finish,
                  "move VMs with --restart never, too, instead of letting them end");
  drain->add_option("--parallel", options->policy.parallel_max, "moves at a time from one worker")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  drain->add_flag("--detach", options->detach, "do not wait for its end")->excludes(plan);
  drain
      ->add_flag("--fail-blocked", options->fail_blocked,
                 "end with exit 3 when nothing can move; the drain stays")
      ->excludes(plan);
  b.on(drain, [=] {
    read_selection(*chosen, *options);
    const auto ms_of = [](const std::string& text, const char* option) {
      return static_cast<std::uint64_t>(to_ms(value_or_refuse(parse_duration(text), option)));
    };
    if (!begins_in->empty()) options->begins_in_ms = ms_of(*begins_in, "--in");
    if (!deadline->empty()) options->policy.deadline_ms = ms_of(*deadline, "--deadline");
    if (!at_deadline->empty())
      options->policy.at_deadline = value_or_refuse(parse_at_deadline(*at_deadline), "--at-deadline");
    if (options->policy.at_deadline == AtDeadline::force && deadline->empty())
      refuse("--deadline", "what is forced at a deadline needs one");
    if (options->many_dead && !options->policy.source_dead)
      refuse("--many-dead", "is about workers that are declared dead: --dead");
    if (options->many_dead) options->policy.many_dead = true;
    if (options->no_finish) options->policy.finish = false;
    if (options->no_make_room) options->policy.make_room = false;
    return [o = *options](Context& c) { return drain_workers(c, o); };
  });

  auto* drains = b.command("drains", "list drains");
  b.on_list(drains, list_drains);
  auto show = std::make_shared<ShowDrainOptions>();
  auto id = std::make_shared<std::string>();
  auto* one = b.command(drains, "show", "one drain, VM by VM");
  one->add_option("DRAIN", *id)->required();
  one->add_flag("--watch", show->watch, "follow it to its end");
  b.on(one, [=] {
    show->drain = DrainId(*id);
    return [o = *show](Context& c) { return show_drain(c, o); };
  });
  b.on_one(&app, "cancel", "cancel a drain or a migration: VMs past the point of no return go on",
           "DRAIN|MIGRATION", cancel_operation);
  b.on_one(&app, "pause", "let no more moves of a drain begin; its workers stay held", "DRAIN", pause_drain);
  b.on_one(&app, "resume", "let a paused drain go on", "DRAIN", resume_drain);
  auto undo = std::make_shared<UndoOptions>();
  auto* back = b.command("undo", "bring a drain's VMs back to where they were; its workers take VMs again");
  back->add_option("DRAIN", *id)->required();
  auto* only = back->add_flag("--plan", undo->plan_only,
                              "only show who goes back and who cannot; exit 3 if somebody cannot");
  back->add_flag("--detach", undo->detach, "do not wait for its end")->excludes(only);
  b.on(back, [=] {
    undo->drain = DrainId(*id);
    return [o = *undo](Context& c) { return undo_drain(c, o); };
  });

  auto events = std::make_shared<EventsOptions>();
  auto* listen = b.command("events", "what happened, in the order of commits");
  listen->add_option("--since", events->since, "only after this revision");
  listen->add_flag("--follow", events->follow, "go on with what happens from now on");
  b.on(listen, [=] { return [o = *events](Context& c) { return show_events(c, o); }; });
}

}  // namespace

namespace {
// The library would split and unwrap words that look like lists of its own: those of a guest's program never reach it.
std::vector<std::string> take_words_after_dashes(std::vector<std::string>& args) {
  const auto dashes = std::ranges::find(args, "--");
  if (std::find(args.begin(), dashes, "exec") == dashes || dashes == args.end()) return {};
  std::vector<std::string> words(dashes + 1, args.end());
  args.erase(dashes, args.end());
  return words;
}
}  // namespace

ParsedCommandLine parse_command_line(std::vector<std::string> args) {
  auto words = take_words_after_dashes(args);
  ParsedCommandLine parsed;
  CLI::App app("Ebb: a fleet of VMs whose workers can be emptied at the press of a button", "ebb");
  app.footer(footer);
  app.set_version_flag("--version", "ebb " EBB_VERSION);
  app.require_subcommand(1);
  app.add_option("--server", parsed.server, "HOST:PORT of the control plane");
  app.add_option("--token-file", parsed.token_file, "file that holds the operator's token");
  app.add_flag_callback("--json", [&] { parsed.format = Format::json; }, "print JSON");

  Builder builder(app, parsed, std::move(words));
  add_drain_commands(builder, app);
  add_worker_commands(builder, app);
  add_budget_commands(builder);
  add_group_commands(builder);
  add_export_command(builder);
  add_vm_commands(builder);
  add_console_commands(builder, app);
  add_network_commands(builder);
  add_storage_commands(builder);
  add_snapshot_commands(builder);
  try {
    std::reverse(args.begin(), args.end());  // as CLI11 wants them
    app.parse(std::move(args));
  } catch (const CLI::ParseError& error) {
    std::ostringstream out, err;
    auto code = app.exit(error, out, err);
    parsed.run = nullptr;
    parsed.exit = code == 0 ? Exit::ok : Exit::usage;
    parsed.text = code == 0 ? out.str() : "ebb: " + err.str();
  }
  return parsed;
}

}  // namespace ebb
