// The JSON of every value of the model, made once.
#include "model/agent_types.h"
#include "model/api_types.h"
#include "model/disk_daemon_types.h"
#include "model/drain_types.h"
#include "model/fleet_types.h"
#include "model/session_types.h"

namespace ebb {

Result<DiskClass> parse_disk_class(std::string_view name) {
  if (name == "remote") return DiskClass::remote;
  if (name == "local") return DiskClass::local;
  if (name == "replicated")
    return fail(Code::invalid,
                "replicated is reserved: a peer's sync is not built yet; choose remote or local");
  return fail(Code::invalid, "'{}' is no class of disks: choose remote or local", name);
}

Result<Restart> parse_restart(std::string_view policy) {
  if (policy == "always") return Restart::always;
  if (policy == "on-failure" || policy == "on_failure") return Restart::on_failure;
  if (policy == "never") return Restart::never;
  return fail(Code::invalid, "'{}' is no restart policy: choose always, on-failure or never", policy);
}

Result<StopSignal> parse_stop_signal(std::string_view signal) {
  if (signal == "automatic") return StopSignal::automatic;
  if (signal == "power-button" || signal == "power_button") return StopSignal::power_button;
  if (signal == "guest-agent" || signal == "guest_agent") return StopSignal::guest_agent;
  return fail(Code::invalid, "'{}' is no stop signal: choose automatic, power-button or guest-agent", signal);
}

Result<AtDeadline> parse_at_deadline(std::string_view name) {
  if (name == "wait") return AtDeadline::wait;
  if (name == "force") return AtDeadline::force;
  return fail(Code::invalid, "'{}' is nothing that happens at a deadline: choose wait or force", name);
}

Result<DomainLevel> parse_domain_level(std::string_view level) {
  if (level == "worker") return DomainLevel::worker;
  if (level == "rack") return DomainLevel::rack;
  if (level == "zone") return DomainLevel::zone;
  if (level == "region") return DomainLevel::region;
  return fail(Code::invalid, "'{}' is no level of failure domains: choose worker, rack, zone or region",
              level);
}

Domains domains_of(const Worker& worker) {
  const auto label = [&](const char* name) {
    auto found = worker.labels.find(name);
    return found == worker.labels.end() ? std::string() : found->second;
  };
  const auto region = label("region"), zone = region + "/" + label("zone");
  return {worker.id.value, zone + "/" + label("rack"), zone, region};
}

std::string text_of(const Group& group) {
  std::string text;
  for (const auto& apart : group.apart)
    text += fmt::format("{}at most {} {} one {}", text.empty() ? "" : ", ", apart.most,
                        apart.level == DomainLevel::worker ? "on" : "in", json::name_of(apart.level));
  if (group.together)
    text += fmt::format("{}all {} one {}", text.empty() ? "" : ", ",
                        *group.together == DomainLevel::worker ? "on" : "in", json::name_of(*group.together));
  return text;
}

Result<HealthKind> parse_health_kind(std::string_view kind) {
  if (kind == "tcp") return HealthKind::tcp;
  if (kind == "http") return HealthKind::http;
  if (kind == "guest-agent" || kind == "guest_agent") return HealthKind::guest_agent;
  return fail(Code::invalid, "'{}' is no kind of health check: choose tcp, http or guest-agent", kind);
}

bool is_restarted(Restart policy, const GuestEnd& end) {
  return policy == Restart::always || (policy == Restart::on_failure && end.status != 0u);
}

bool has_labels(const Labels& labels, const Labels& selector) {
  return std::ranges::all_of(selector, [&](const auto& wanted) {
    auto found = labels.find(wanted.first);
    return found != labels.end() && found->second == wanted.second;
  });
}

std::string text_of(const Labels& labels) {
  std::string text;
  for (const auto& [key, value] : labels)
    text += fmt::format("{}{}={}", text.empty() ? "" : ", ", key, value);
  return text;
}

std::string text_of(const std::vector<WorkerId>& workers, const std::optional<Labels>& selector) {
  if (workers.empty()) return "no worker";
  std::string text;
  if (workers.size() > 3)
    text = fmt::format("{} workers", workers.size());
  else if (workers.size() == 3)
    text = fmt::format("{}, {} and {}", workers[0], workers[1], workers[2]);
  else
    text = workers.size() == 2 ? fmt::format("{} and {}", workers[0], workers[1]) : workers[0].value;
  return selector ? fmt::format("{} ({})", text, text_of(*selector)) : text;
}

template <>
Status json::read_into<DiskClass>(DiskClass& out, const json::Value& v, const std::string& path) {
  if (!v.is_string()) return json::detail::wrong_type(path, "a string");
  auto read = parse_disk_class(v.get_string());
  if (!read) return fail_field(path, "'{}': {}", path, read.error().message);
  out = *read;
  return {};
}

EBB_JSON_INSTANTIATE(Resources)
EBB_JSON_INSTANTIATE(WorkerReturn)
EBB_JSON_INSTANTIATE(Worker)
EBB_JSON_INSTANTIATE(EndedTurn)
EBB_JSON_INSTANTIATE(LogRescue)
EBB_JSON_INSTANTIATE(DiskSnapshot)
EBB_JSON_INSTANTIATE(DiskOrigin)
EBB_JSON_INSTANTIATE(DiskRestore)
EBB_JSON_INSTANTIATE(DiskGrowth)
EBB_JSON_INSTANTIATE(DiskRemoval)
EBB_JSON_INSTANTIATE(LossBound)
EBB_JSON_INSTANTIATE(OrphanLog)
EBB_JSON_INSTANTIATE(Disk)
EBB_JSON_INSTANTIATE(Blob)
EBB_JSON_INSTANTIATE(Image)
EBB_JSON_INSTANTIATE(Port)
EBB_JSON_INSTANTIATE(HealthCheck)
EBB_JSON_INSTANTIATE(InstanceData)
EBB_JSON_INSTANTIATE(VmNetwork)
EBB_JSON_INSTANTIATE(JoinNetwork)
EBB_JSON_INSTANTIATE(NetworkInterface)
EBB_JSON_INSTANTIATE(GuestEnd)
EBB_JSON_INSTANTIATE(EndedVm)
EBB_JSON_INSTANTIATE(VmSpec)
EBB_JSON_INSTANTIATE(Vm)
EBB_JSON_INSTANTIATE(Hold)
EBB_JSON_INSTANTIATE(DrainOptions)
EBB_JSON_INSTANTIATE(Drain)
EBB_JSON_INSTANTIATE(Budget)
EBB_JSON_INSTANTIATE(Apart)
EBB_JSON_INSTANTIATE(Group)
EBB_JSON_INSTANTIATE(PhaseTime)
EBB_JSON_INSTANTIATE(Migration)
EBB_JSON_INSTANTIATE(JournalEntry)
EBB_JSON_INSTANTIATE(Cell)
EBB_JSON_INSTANTIATE(WantedSnapshot)
EBB_JSON_INSTANTIATE(CutMade)
EBB_JSON_INSTANTIATE(RescueLog)
EBB_JSON_INSTANTIATE(SeenRescue)
EBB_JSON_INSTANTIATE(WantedDisk)
EBB_JSON_INSTANTIATE(SeenSnapshot)
EBB_JSON_INSTANTIATE(WantedVm)
EBB_JSON_INSTANTIATE(WantedSet)
EBB_JSON_INSTANTIATE(VmTimings)
EBB_JSON_INSTANTIATE(SeenHealth)
EBB_JSON_INSTANTIATE(SeenVm)
EBB_JSON_INSTANTIATE(UnsentDisk)
EBB_JSON_INSTANTIATE(AgentReport)
EBB_JSON_INSTANTIATE(ReportAnswer)
EBB_JSON_INSTANTIATE(Registration)
EBB_JSON_INSTANTIATE(OpenDisk)
EBB_JSON_INSTANTIATE(DiskRef)
EBB_JSON_INSTANTIATE(DiskStatus)
EBB_JSON_INSTANTIATE(MakeSnapshot)
EBB_JSON_INSTANTIATE(ResizeDisk)
EBB_JSON_INSTANTIATE(SnapshotMade)
EBB_JSON_INSTANTIATE(DaemonStatus)
EBB_JSON_INSTANTIATE(ErrorBody)
EBB_JSON_INSTANTIATE(Reason)
EBB_JSON_INSTANTIATE(WorkerView)
EBB_JSON_INSTANTIATE(VmView)
EBB_JSON_INSTANTIATE(MigrationView)
EBB_JSON_INSTANTIATE(PlanMove)
EBB_JSON_INSTANTIATE(PlanBound)
EBB_JSON_INSTANTIATE(PlanBlocker)
EBB_JSON_INSTANTIATE(PlanFinish)
EBB_JSON_INSTANTIATE(DiskLoss)
EBB_JSON_INSTANTIATE(DrainPlan)
EBB_JSON_INSTANTIATE(DoneCheck)
EBB_JSON_INSTANTIATE(WorkerProgress)
EBB_JSON_INSTANTIATE(DrainView)
EBB_JSON_INSTANTIATE(BudgetView)
EBB_JSON_INSTANTIATE(GroupView)
EBB_JSON_INSTANTIATE(WhyAnswer)
EBB_JSON_INSTANTIATE(CreateVm)
EBB_JSON_INSTANTIATE(CreateImage)
EBB_JSON_INSTANTIATE(CreateSnapshot)
EBB_JSON_INSTANTIATE(RestoreDisk)
EBB_JSON_INSTANTIATE(CreateNetwork)
EBB_JSON_INSTANTIATE(CreateDisk)
EBB_JSON_INSTANTIATE(AttachDisk)
EBB_JSON_INSTANTIATE(GrowDisk)
EBB_JSON_INSTANTIATE(KeepDisk)
EBB_JSON_INSTANTIATE(RestorePlanView)
EBB_JSON_INSTANTIATE(DiskLogEntry)
EBB_JSON_INSTANTIATE(DiskLogView)
EBB_JSON_INSTANTIATE(CreateDrain)
EBB_JSON_INSTANTIATE(PutBudget)
EBB_JSON_INSTANTIATE(PutGroup)
EBB_JSON_INSTANTIATE(UndoDrain)
EBB_JSON_INSTANTIATE(MigrateVm)
EBB_JSON_INSTANTIATE(EditVm)
EBB_JSON_INSTANTIATE(CordonWorker)
EBB_JSON_INSTANTIATE(CordonWorkers)
EBB_JSON_INSTANTIATE(ReturnWorker)
EBB_JSON_INSTANTIATE(UncordonWorkers)
EBB_JSON_INSTANTIATE(GuestCommand)
EBB_JSON_INSTANTIATE(ConsolePoint)
EBB_JSON_INSTANTIATE(SessionCall)
EBB_JSON_INSTANTIATE(SessionEnd)
EBB_JSON_INSTANTIATE(SessionEvent)
EBB_JSON_INSTANTIATE(SessionOutput)
EBB_JSON_INSTANTIATE(SessionInput)
EBB_JSON_INSTANTIATE(Page<WorkerView>)
EBB_JSON_INSTANTIATE(Page<VmView>)
EBB_JSON_INSTANTIATE(Page<Disk>)
EBB_JSON_INSTANTIATE(Page<Image>)
EBB_JSON_INSTANTIATE(Page<VmNetwork>)
EBB_JSON_INSTANTIATE(Page<DrainView>)
EBB_JSON_INSTANTIATE(Page<MigrationView>)
EBB_JSON_INSTANTIATE(Page<BudgetView>)
EBB_JSON_INSTANTIATE(Page<GroupView>)
EBB_JSON_INSTANTIATE(Page<Hold>)
EBB_JSON_INSTANTIATE(Page<JournalEntry>)

}  // namespace ebb
