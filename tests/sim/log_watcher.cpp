#include "log_watcher.h"

namespace ebb::fleet_sim {

LogWatcher::LogWatcher(FleetSim& sim, VmId vm)
    : sim_(sim), vm_(std::move(vm)), process_(sim.world().start_process("watcher", "ebb")) {
  process_.make<Scope>(process_.loop()).spawn(watch(&process_));
}

LogWatcher::~LogWatcher() { process_.kill(); }

// Whoever wants to see more calls the command again.
Task<void> LogWatcher::watch(sim::SimProcess* process) {
  auto& http = process->make<sim::SimHttp>(*process, sim_.http());
  auto& client = process->make<ApiClient>(
      http, ClientOptions{std::string(FleetSim::control_address), std::string(FleetSim::operator_token)});
  for (;;) {
    runs_.emplace_back();
    ConsoleFollower follower(process->loop(), client, {vm_, SessionKind::logs, true, {}},
                             {[this](std::string_view bytes) { runs_.back() += bytes; },
                              [this](const std::string& sentence) {
                                sim_.note("logs of {}: {}", vm_, sentence);
                                news_.push_back(sentence);
                              }});
    auto ended = co_await follower.run();
    sim_.note("logs of {} end: {}", vm_, ended ? std::string("well") : ended.error().message);
    co_await sleep_for(process->loop(), 5s);
  }
}

// Each begins with the boot that the guest tells of: "boot N of epoch E on HOST".
std::vector<LogWatcher::Stay> LogWatcher::stays_of(const std::string& shown) {
  std::vector<Stay> stays;
  for (std::size_t at = 0; at < shown.size();) {
    const auto end = std::min(shown.find('\n', at), shown.size() - 1) + 1;
    const auto line = shown.substr(at, end - at);
    at = end;
    unsigned long boot = 0, epoch = 0;
    char host[64] = {};
    if (line.ends_with('\n') &&
        std::sscanf(line.c_str(), "boot %lu of epoch %lu on %63s", &boot, &epoch, host) == 3) {
      if (stays.empty() || stays.back().epoch != epoch || stays.back().worker.value != host)
        stays.push_back({WorkerId(host), epoch, ""});
    }
    if (stays.empty()) stays.emplace_back();  // it begins in the middle: wrong, and seen to be
    stays.back().text += line;
  }
  return stays;
}

void LogWatcher::check(bool is_whole) {
  for (const auto& run : runs_) {
    Epoch last = 0;
    const auto stays = stays_of(run);
    for (const auto& stay : stays) {
      const auto& printed = sim_.printed(vm_, stay.worker, stay.epoch);
      if (!printed.starts_with(stay.text))
        sim_.violation(
            "logs of {}: what is shown of {} under epoch {} is not what was printed there: '{}' of '{}'", vm_,
            stay.worker, stay.epoch, stay.text, printed);
      if (stay.epoch <= last) sim_.violation("logs of {}: epoch {} is shown after {}", vm_, stay.epoch, last);
      if (is_whole && &stay != &stays.back() && stay.text != printed)
        sim_.violation("logs of {}: the end of what was said on {} is missing: '{}' of '{}'", vm_,
                       stay.worker, stay.text, printed);
      last = stay.epoch;
    }
  }
}

bool LogWatcher::is_at_home() const {
  const auto* vm = sim_.fleet().find(vm_);
  if (!vm || vm->desired != VmDesired::running || !vm->worker) return true;  // there is nothing to follow
  const auto stays = stays_of(runs_.back());
  return !stays.empty() && stays.back().worker == *vm->worker && stays.back().epoch == vm->epoch;
}

std::size_t LogWatcher::stays() const { return stays_of(runs_.back()).size(); }

}  // namespace ebb::fleet_sim
