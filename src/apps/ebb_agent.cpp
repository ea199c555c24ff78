// ebb-agent: makes one worker match what is wanted of it. Reads its configuration, wires the agent to this
// machine.
#include <malloc.h>

#include "agent/agent.h"
#include "agent/capacity.h"
#include "config/toml_table.h"
#include "platform/daemon.h"
#include "platform/qemu/qemu_hypervisor.h"
#include "platform/real_env.h"
#include "pools.h"

namespace ebb {
namespace {

constexpr const char* usage = R"(usage: ebb-agent --config FILE

The agent of one worker. FILE is TOML:
  worker          = "worker-1"                        its name in the cell
  control         = "127.0.0.1:7400"                  the control plane
  join_token_file = "/etc/ebb/join.token"             from the control plane's state_dir
  state_dir       = "/var/lib/ebb/agent"              what is wanted, kernels, machines
  diskd           = "unix:/run/ebb/diskd.sock"        the disk daemon of this worker
  vm_user         = "nobody"                          whom machines run as, when the agent is root
  qemu            = "qemu-system-x86_64"              a name on PATH, or a path
  kvm             = true                              false: do not even try
  listen          = "unix:/var/lib/ebb/agent/sock"    for operators: /healthz and /status
  log_level       = "info"                            debug, info, warning, error
  [capacity]                                          for VMs; at most the machine's, less 1 GiB or a tenth
  cpu    = 4
  memory = "8GiB"
  [labels]
  zone = "a"
  [pools.main]
  url = "dir:/var/lib/ebb/pool"                       or s3://BUCKET/PREFIX?endpoint=http://HOST:PORT
  [networks.lan]                                      a network that VMs here may join
  bridge = "br0"                                      that leads to it

SIGTERM ends the agent and leaves its machines running.
)";

struct Config {
  agent::AgentConfig agent;
  QemuOptions qemu;
  std::string join_token_file;
  std::uint64_t memory_wanted = 0;  // for VMs, by the file; capacity may be less
  LogLevel log_level = LogLevel::info;
  PoolConfigs pools;
};

struct Capacity {
  Resources for_vms;
  std::uint64_t memory_wanted = 0;
};

Result<Capacity> read_capacity(const TomlTable& file) {
  EBB_TRY(table, file.table("capacity"));
  EBB_TRY(memory, memory_bytes_total());
  EBB_TRY(cpu, table.integer("cpu", 1, 100'000, cpu_count()));
  EBB_TRY(bytes, table.size("memory", memory - agent::host_reserve(memory)));
  return Capacity{agent::capacity_for_vms({cpu_count(), memory}, {static_cast<std::uint32_t>(cpu), bytes}),
                  bytes};
}

Result<std::map<NetworkId, std::string>> read_networks(const TomlTable& file) {
  EBB_TRY(tables, file.tables("networks"));
  std::map<NetworkId, std::string> networks;
  for (const auto& [name, table] : tables) {
    if (!is_valid_name(name))
      return file.wrong("networks",
                        fmt::format("'{}' is no name for a network: 1 to 63 of a-z, 0-9 and '-'", name));
    EBB_TRY(bridge, table.string("bridge"));
    networks.emplace(NetworkId(name), bridge);
  }
  return networks;
}

Result<Config> read_config(const std::string& path) {
  EBB_TRY(file, TomlTable::load(path));
  Config config;
  EBB_TRY(worker, read_worker(file));
  EBB_TRY(control, file.string("control"));
  EBB_TRY(join_token_file, file.string("join_token_file"));
  EBB_TRY(state_dir, file.string("state_dir"));
  EBB_TRY(diskd, file.string("diskd"));
  if (!diskd.starts_with("unix:")) return file.wrong("diskd", "must be unix:PATH");
  EBB_TRY(vm_user, file.string("vm_user", "nobody"));
  EBB_TRY(qemu, file.string("qemu", "qemu-system-x86_64"));
  EBB_TRY(kvm, file.boolean("kvm", true));
  EBB_TRY(listen, file.string("listen", fmt::format("unix:{}/sock", state_dir)));
  if (!listen.starts_with("unix:")) return file.wrong("listen", "must be unix:PATH");
  EBB_TRY(level, read_log_level(file));
  EBB_TRY(capacity, read_capacity(file));
  EBB_TRY(labels, file.string_map("labels"));
  EBB_TRY(pools, read_pools(file));
  EBB_TRY(networks, read_networks(file));
  EBB_CHECKED(file.finish());

  config.memory_wanted = capacity.memory_wanted;
  config.join_token_file = join_token_file, config.log_level = level, config.pools = pools;
  auto& a = config.agent;
  a.worker = worker, a.control = control, a.state_dir = state_dir, a.disk_daemon = diskd;
  a.status_address = listen, a.capacity = capacity.for_vms, a.labels = labels;
  a.networks = networks;
  auto& q = config.qemu;
  q.state_dir = state_dir, q.program = qemu, q.user = vm_user, q.may_use_kvm = kvm;
  return config;
}

Task<Result<std::string>> read_token(RealEnv& env, std::string path) {
  auto bytes = co_await env.files.read_all(path);
  if (!bytes) co_return fail(std::move(bytes).error().within("join_token_file"));
  std::string token(as_text(*bytes));
  while (!token.empty() && token.back() <= ' ') token.pop_back();
  if (token.empty()) co_return fail(Code::invalid, "join_token_file: {} is empty", path);
  co_return token;
}

// Runs until a signal comes, or the agent cannot begin.
Status serve(RealEnv& env, agent::Agent& agent, const Logger& log) {
  Status ended;
  env.loop.on_signal([&](int) {
    log.info("ending; machines run on");
    env.loop.stop();
  });
  Scope scope(env.loop);
  scope.spawn([](RealEnv& e, agent::Agent& a, Status* out) -> Task<void> {
    *out = co_await a.run();
    e.loop.stop();
  }(env, agent, &ended));
  env.loop.run();
  return ended;
}

// The agent is idle nearly always, and holds a few chunks of a kernel image for a moment: large blocks go
// back to the system at once. Naming the thresholds keeps malloc from raising them after the first such
// block.
void keep_memory_small() {
  mallopt(M_MMAP_THRESHOLD, 256 * 1024);
  mallopt(M_TRIM_THRESHOLD, 512 * 1024);
  mallopt(M_ARENA_MAX, 2);
}

Status run(std::string path) {
  keep_memory_small();
  EBB_TRY(config, read_config(path));
  Logger log(make_stderr_sink(config.log_level), "ebb-agent");
  raise_open_files_limit();
  RealEnv env;
  EBB_TRY(join_token, run_until_done(env.loop, read_token(env, config.join_token_file)));
  EBB_TRY(stores, run_until_done(env.loop, open_pools(env.loop, config.pools,
                                                      probing_opener(env.files, config.agent.state_dir))));
  EBB_TRY(boot, boot_id());

  config.agent.boot_id = boot;
  config.agent.join_token = join_token;
  for (auto& [id, store] : stores) config.agent.pools[id] = store.get();
  config.qemu.tsc_khz = tsc_khz();
  EBB_TRY(hypervisor, make_qemu_hypervisor(env.loop, log.named("machines"), config.qemu));
  agent::Agent agent(config.agent, {env.loop, env.files, env.http, env.network, *hypervisor, log});
  log.info("worker {}: {} cores and {} MiB for VMs", config.agent.worker,
           config.agent.capacity.cpu_millis / 1000, config.agent.capacity.memory_bytes / MiB);
  if (config.agent.capacity.memory_bytes < config.memory_wanted)
    log.warning(
        "[capacity] memory: the host keeps a reserve for itself, so VMs have less than the {} MiB configured",
        config.memory_wanted / MiB);
  return serve(env, agent, log);
}

}  // namespace
}  // namespace ebb

int main(int argc, char** argv) { return ebb::daemon_main(argc, argv, "ebb-agent", ebb::usage, ebb::run); }
