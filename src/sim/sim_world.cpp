#include "sim/sim_world.h"

#include "base/text.h"
#include "env/sync.h"

namespace ebb::sim {
namespace {

class TraceSink final : public LogSink {
 public:
  explicit TraceSink(SimLoop& loop) : loop_(loop) {}
  void write(LogLevel level, std::string_view component, std::string_view text) override {
    constexpr std::string_view marks[] = {"debug", "info", "warning", "error"};
    loop_.note(fmt::format("{} {}: {}", marks[static_cast<std::size_t>(level)], component, text));
  }

 private:
  SimLoop& loop_;
};

}  // namespace

SimProcess::SimProcess(SimWorld& world, std::string host, std::string name)
    : world_(world), host_(std::move(host)), loop_(world.loop(), std::move(name)) {}

SimProcess::~SimProcess() {
  on_death_.clear();
  loop_.close();
  reap();
}

void SimProcess::kill() {
  if (!is_alive()) return;
  world_.loop().note(fmt::format("{} killed", name()));
  loop_.close();
  if (world_.loop().running() == nullptr) return reap();
  world_.loop().post([this] { reap(); });
}

void SimProcess::pause() {
  if (!is_alive() || is_paused()) return;
  world_.loop().note(fmt::format("{} paused", name()));
  loop_.pause();
}

void SimProcess::resume() {
  if (!is_alive() || !is_paused()) return;
  world_.loop().note(fmt::format("{} resumed", name()));
  loop_.resume();
}

void SimProcess::on_death(std::function<void()> callback) {
  if (reaped_) return callback();
  on_death_.push_back(std::move(callback));
}

Task<void> SimProcess::stop_here_if_dead() {
  if (!is_alive()) co_await hang();
}

Task<void> SimProcess::hang() {
  OneShot<bool> never(loop_);
  co_await never;
}

void SimProcess::reap() {
  if (std::exchange(reaped_, true)) return;
  loop_.drop();
  while (!objects_.empty()) {
    auto last = std::move(objects_.back());
    objects_.pop_back();
  }
  for (auto& callback : std::exchange(on_death_, {})) callback();
}

SimWorld::SimWorld(SimLoopOptions options)
    : loop_(options),
      fault_random_(fnv1a("faults", options.seed)),
      log_sink_(std::make_shared<TraceSink>(loop_)) {}

SimWorld::~SimWorld() {
  loop_.listen({});
  while (!processes_.empty()) processes_.pop_back();
}

Duration SimWorld::vary(Duration typical) {
  auto half = static_cast<std::uint64_t>(typical.count() / 2);
  return Duration(static_cast<Duration::rep>(half + fault_random_.below(2 * half + 1)));
}

SimProcess& SimWorld::start_process(std::string host, std::string_view program) {
  auto path = fmt::format("{}/{}", host, program);
  auto name = fmt::format("{}#{}", path, ++incarnations_[path]);
  loop_.note(fmt::format("{} started", name));
  return *processes_.emplace_back(std::make_unique<SimProcess>(*this, std::move(host), std::move(name)));
}

std::vector<SimProcess*> SimWorld::processes_of(const std::string& host) {
  std::vector<SimProcess*> found;
  for (auto& process : processes_)
    if (process->is_alive() && process->host() == host) found.push_back(process.get());
  return found;
}

void SimWorld::violation(std::string text) {
  text = fmt::format("at {}: {}", format_duration(loop_.now().time_since_epoch()), text);
  loop_.note("VIOLATION " + text);
  violations_.push_back(std::move(text));
}

Logger SimWorld::logger(std::string component) { return Logger(log_sink_, std::move(component)); }

}  // namespace ebb::sim
