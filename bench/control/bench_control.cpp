// The control plane at the size of a large cell, in one process with its records in SQLite: all of its workers have registered, reported
// and poll for what is wanted of them, by the same requests that agents send; only the sockets are left out. The agents never do what is wanted:
// what is measured is the control plane.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <unistd.h>

#include "base/large_pages.h"
#include "control/control_plane.h"
#include "env/scope.h"
#include "platform/asio_offload.h"
#include "platform/real_env.h"
#include "store/sqlite_store.h"

namespace ebb::control {
namespace {

constexpr const char* usage = R"(usage: ebb-bench-control FOLDER WORKERS VMS_PER_WORKER DRAINED CORDONS
  FOLDER is made, and holds records and pool
)";

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

double rss_mb() {
  std::ifstream statm("/proc/self/statm");
  std::uint64_t total = 0, resident = 0;
  statm >> total >> resident;
  return static_cast<double>(resident * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE))) / 1e6;
}

struct Size {
  std::uint32_t workers = 0, vms_each = 0, drained = 0, cordons = 0;
};

WorkerId worker_name(std::uint32_t i) { return WorkerId(fmt::format("worker-{}", i)); }
VmId vm_name(std::uint32_t worker, std::uint32_t i) { return VmId(fmt::format("vm-{}-{}", worker, i)); }

Worker worker_record(const Size& size, std::uint32_t i) {
  Worker w;
  w.id = worker_name(i), w.boot_id = "boot-1", w.agent_version = "bench";
  w.labels = {{"rack", fmt::format("rack-{}", i / 20)}, {"zone", fmt::format("zone-{}", i % 3)}};
  // Spread over the fleet, as what a rotation takes next is.
  if (i % std::max(1u, size.workers / size.drained) == 0 &&
      i / std::max(1u, size.workers / size.drained) < size.drained)
    w.labels["group"] = "burst";
  w.capacity = {64'000, 256ull << 30}, w.pools = {PoolId("main")};
  return w;
}

Vm vm_record(std::uint32_t worker, std::uint32_t i, Epoch epoch) {
  Vm vm;
  vm.id = vm_name(worker, i), vm.worker = worker_name(worker), vm.epoch = epoch;
  vm.spec.image = ImageId("guest"), vm.spec.storage = Storage::none;
  vm.spec.cpus = 1 + i % 4, vm.spec.memory_bytes = (1ull + i % 8) << 30;
  vm.spec.labels = {{"app", fmt::format("app-{}", (worker * 7 + i) % 997)}};
  return vm;
}

// As if the fleet had grown over the years.
Task<Status> fill(SqliteStore& store, Size size) {
  CommitBatch batch;
  std::uint64_t revision = 0;
  Cell cell;
  auto put = [&](const Record& record) {
    auto json = std::visit([](const auto& r) { return json::write_text(r); }, record);
    batch.puts.push_back({std::string(kind_of(record)), id_of(record), std::move(json)});
  };
  auto commit = [&]() -> Task<Status> {
    put(cell);
    batch.expected_revision = revision++;
    co_return co_await store.commit(std::exchange(batch, {}));
  };
  Image image;
  image.id = ImageId("guest"), image.pool = PoolId("main"), image.state = ImageState::ready;
  put(image);
  for (std::uint32_t i = 0; i < size.workers; ++i) {
    put(worker_record(size, i));
    for (std::uint32_t v = 0; v < size.vms_each; ++v) put(vm_record(i, v, ++cell.last_epoch));
    if (batch.puts.size() + size.vms_each + 3 > commit_ops_max) EBB_CO_CHECKED(co_await commit());
  }
  co_return co_await commit();
}

class Bench {
 public:
  Bench(AsioLoop& loop, ControlPlane& control, Size size)
      : loop_(loop), control_(control), size_(size), told_(loop), polls_(loop) {}

  Task<HttpResponse> ask(std::string method, std::string target, std::string body,
                         const char* token = "operator-token") {
    return control_.handle({.method = std::move(method),
                            .target = std::move(target),
                            .headers = {{"authorization", fmt::format("Bearer {}", token)}},
                            .body = std::move(body)});
  }

  Task<Status> report_all() {
    for (std::uint32_t i = 0; i < size_.workers; ++i) {
      AgentReport report;
      report.worker = worker_name(i), report.boot_id = "boot-1", report.agent_run = "run-1",
      report.sequence = 1;
      report.disk_daemon_up = true, report.machines = size_.vms_each;
      for (std::uint32_t v = 0; v < size_.vms_each; ++v) {
        const auto* vm = control_.owner().fleet().find(vm_name(i, v));
        SeenVm seen;
        seen.vm = vm->id, seen.epoch = vm->epoch, seen.state = VmSeen::running, seen.machine = true;
        report.vms.push_back(std::move(seen));
      }
      auto reply = co_await ask("POST", "/v1/agent/report", json::write_text(report), "join-token");
      if (reply.status != 200) co_return fail(Code::internal, "report: {}", reply.body);
    }
    co_return Status{};
  }
  void poll_all() {
    for (std::uint32_t i = 0; i < size_.workers; ++i) polls_.spawn(poll(i));
  }
  Task<void> poll(std::uint32_t i) {
    std::uint64_t revision = 0;
    for (;;) {
      auto reply = co_await ask(
          "GET", fmt::format("/v1/agent/workers/{}/wanted?revision={}&wait_s=60", worker_name(i), revision),
          {}, "join-token");
      if (reply.status != 200) continue;
      auto set = json::read_text<WantedSet>(reply.body);
      if (!set) co_return;
      revision = set->revision;
      ++wanted_told_;
      // A move begins with a standby at its target; the name of a VM says where it lives.
      for (const auto& vm : set->vms)
        if (vm.wanted == Wanted::standby)
          standbys_[vm.vm.value.substr(0, vm.vm.value.rfind('-'))].insert(vm.vm);
      told_.notify_all();
    }
  }

  Task<Status> cordon_some() {
    constexpr std::uint32_t at_a_time = 100;
    for (std::uint32_t at = 0; at < size_.cordons; at += at_a_time) {
      std::vector<Task<HttpResponse>> asked;
      for (std::uint32_t i = at; i < std::min(size_.cordons, at + at_a_time); ++i)
        asked.push_back(ask("POST", fmt::format("/v1/workers/{}:cordon", worker_name(size_.workers - 1 - i)),
                            R"({"reason":"bench"})"));
      for (auto& reply : co_await when_all(loop_, std::move(asked)))
        if (reply.status != 200) co_return fail(Code::internal, "cordon: {}", reply.body);
    }
    co_return Status{};
  }

  // The others of them by one request.
  Task<Status> cordon_at_once() {
    CordonWorkers wish;
    for (std::uint32_t i = 0; i < size_.cordons; ++i)
      wish.workers.push_back(worker_name(size_.workers - 1 - size_.cordons - i));
    wish.reason = "bench";
    auto reply = co_await ask("POST", "/v1/workers:cordon", json::write_text(wish));
    if (reply.status != 200) co_return fail(Code::internal, "cordon: {}", reply.body);
    co_return Status{};
  }

  // From the request until the first wave of every drained worker has been told to its targets.
  Task<Status> burst() {
    CreateDrain wish;
    wish.selector = Labels{{"group", "burst"}}, wish.reason = "bench";
    auto reply = co_await ask("POST", "/v1/drains", json::write_text(wish));
    if (reply.status != 201) co_return fail(Code::internal, "drain: {}", reply.body);
    const auto wave = std::min(size_.vms_each, wish.options.parallel_max);
    const auto has_wave = [&](const auto& vms) { return vms.second.size() >= wave; };
    while (std::ranges::count_if(standbys_, has_wave) < size_.drained) co_await told_.wait();
    co_return Status{};
  }
  Task<void> all_told() {
    while (wanted_told_ < size_.workers) co_await told_.wait();
  }
  std::uint64_t wanted_told() const { return wanted_told_; }

 private:
  AsioLoop& loop_;
  ControlPlane& control_;
  Size size_;
  std::uint64_t wanted_told_ = 0;
  std::map<std::string, std::set<VmId>>
      standbys_;  // that were told to a target, by the worker that they leave
  Notify told_;
  Scope polls_;
};

void print(const char* key, double value) {
  std::printf("{\"%s\": %.4g}\n", key, value);
  std::fflush(stdout);
}

Status run(std::string folder, Size size) {
  RealEnv env;
  AsioOffload threads(env.loop);
  EBB_CHECKED(run_until_done(env.loop, env.files.make_dirs(folder)));
  EBB_TRY(store, SqliteStore::open(env.loop, threads, folder + "/records.db"));
  auto began = Clock::now();
  EBB_CHECKED(run_until_done(env.loop, fill(*store, size)));
  print("fill_s", seconds_since(began));
  EBB_TRY(pool, run_until_done(env.loop, open_object_store(env.loop, "dir:" + folder + "/pool")));
  ControlConfig config{"operator-token", "join-token", "{}", {}, 1h};
  // Nobody reports a second time here.
  config.limits.liveness = {1h, 2h};
  ControlPlane control(env.loop, *store, {{PoolId("main"), {pool.get(), pool.get(), DiskClass::remote}}},
                       std::move(config), Logger(make_stderr_sink(LogLevel::warning), "ebbd"));
  began = Clock::now();
  EBB_CHECKED(run_until_done(env.loop, control.start()));
  print("load_s", seconds_since(began));
  Bench bench(env.loop, control, size);
  began = Clock::now();
  EBB_CHECKED(run_until_done(env.loop, bench.report_all()));
  print("reports_per_s", size.workers / seconds_since(began));
  bench.poll_all();
  run_until_done(env.loop, bench.all_told());
  print("ebbd_rss_mb", rss_mb());
  if (size.cordons > 0) {
    began = Clock::now();
    EBB_CHECKED(run_until_done(env.loop, bench.cordon_some()));
    print("cordons_per_s", size.cordons / seconds_since(began));
    began = Clock::now();
    EBB_CHECKED(run_until_done(env.loop, bench.cordon_at_once()));
    print("cordons_at_once_per_s", size.cordons / seconds_since(began));
  }
  began = Clock::now();
  EBB_CHECKED(run_until_done(env.loop, bench.burst()));
  print("burst_s", seconds_since(began));
  print("wanted_told", static_cast<double>(bench.wanted_told()));
  print("ebbd_rss_peak_mb", rss_mb());
  std::fflush(stdout);
  std::_Exit(0);  // a hundred thousand polls need not end one by one
}

}  // namespace
}  // namespace ebb::control

int main(int argc, char** argv) {
  ebb::use_large_pages(argv);  // as ebbd does
  if (argc != 6) return std::fputs(ebb::control::usage, stderr), 2;
  auto number = [&](int i) { return static_cast<std::uint32_t>(std::strtoul(argv[i], nullptr, 10)); };
  ebb::control::Size size{number(2), number(3), number(4), number(5)};
  if (size.workers == 0 || size.drained == 0 || size.drained > size.workers ||
      2 * size.cordons > size.workers)
    return std::fputs(ebb::control::usage, stderr), 2;
  if (auto status = ebb::control::run(argv[1], size); !status)
    return std::fprintf(stderr, "ebb-bench-control: %s\n", status.error().message.c_str()), 1;
}
