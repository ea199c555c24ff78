// ebbd: the control plane of one cell. Reads its configuration, opens records and pools, serves the API.
#include <sys/stat.h>

#include "base/large_pages.h"
#include "base/text.h"
#include "config/toml_table.h"
#include "control/control_plane.h"
#include "platform/asio_offload.h"
#include "platform/daemon.h"
#include "platform/real_env.h"
#include "pools.h"
#include "store/sqlite_store.h"

extern const char ebb_openapi[];

namespace ebb {
namespace {

constexpr const char* usage = R"(usage: ebbd --config FILE [--listen ADDRESS]

The control plane of one cell. ADDRESS stands for what FILE says. FILE is TOML:
  state_dir = "/var/lib/ebb/control"   records and tokens
  listen    = "127.0.0.1:7400"         loopback only, until there is TLS
  log_level = "info"                   debug, info, warning, error
  disk_retention = "24h"               how long the data of a removed disk is kept; 0s: not at all
  reclaim_every = "30s"                how often each disk is asked what it no longer needs
  [pools.main]
  url           = "dir:/var/lib/ebb/pool"   or s3://BUCKET/PREFIX?endpoint=http://HOST:PORT
  default_class = "remote"             of new disks: remote or local; must be named for s3://
  [liveness]
  silent = "10s"                       without a report, a worker takes nothing new
  suspect = "60s"                      and then is not waited for as a target
  [moves]
  tenant_percent = 1                   of one tenant's VMs so many may move at once,
  tenant_min = 1                       or so many, if that is more
  vm_max = 0                           moves of one VM by drains in 30 days; 0: any number
  horizon = "24h"                      so long before a drain begins its workers take nothing new
  dead_percent = 20                    of a zone's or the cell's workers so many may look dead at once,
  dead_min = 1                         or so many, if that is more; else nothing is taken from them
  [moves.label_max]
  rack = 10                            moves into one rack, and out of it; likewise for any label
  [return]
  image = "witness"                    a VM of this image starts on a worker before that takes VMs again;
  memory = "256MiB"                    without an image none does
  timeout = "5m"                       for all of it; then the worker stays held
  clock = "5s"                         so far its clock may be from ours

Tokens are made at the first start, in state_dir: operator.token (for ebb) and join.token (for agents).
)";

struct Config {
  std::string state_dir, listen;
  LogLevel log_level = LogLevel::info;
  PoolConfigs pools;
  std::map<PoolId, DiskClass> default_classes;
  control::Reconciler::Limits limits;
  Duration reclaim_every{};
};

bool is_local(const std::string& address) {
  return address.starts_with("127.") || address.starts_with("localhost:") || address.starts_with("[::1]:") ||
         address.starts_with("unix:");
}
constexpr const char* only_local =
    "only a loopback address (127.0.0.1:PORT) or unix:PATH is possible: the API has no TLS yet, and tokens "
    "would travel in the clear";

// What a FLUSH promises is nobody's silent guess, except in a folder, where the stronger promise costs
// little.
Result<DiskClass> read_default_class(const PoolConfig& pool) {
  if (!pool.table.has("default_class") && !pool.url.starts_with("dir:"))
    return pool.table.wrong("default_class",
                            "must be named for a pool in a bucket: remote (a FLUSH waits for the store) or "
                            "local (for the worker's log)");
  EBB_TRY(name, pool.table.string("default_class", "remote"));
  auto found = parse_disk_class(name);
  if (!found) return pool.table.wrong("default_class", found.error().message);
  return *found;
}

// `listen_flag` stands for the file's `listen`.
Result<Config> read_config(const std::string& path, const std::optional<std::string>& listen_flag) {
  EBB_TRY(file, TomlTable::load(path));
  Config config;
  EBB_TRY(state_dir, file.string("state_dir"));
  EBB_TRY(listen, file.string("listen", "127.0.0.1:7400"));
  EBB_TRY(level, read_log_level(file));
  EBB_TRY(reclaim_every, file.duration("reclaim_every", 30s));
  config.reclaim_every = reclaim_every;
  EBB_TRY(disk_retention, file.duration("disk_retention", 24h));
  config.limits.disk_retention = disk_retention;
  config.state_dir = state_dir, config.listen = listen_flag.value_or(listen), config.log_level = level;
  if (!is_local(listen)) return file.wrong("listen", only_local);
  if (!is_local(config.listen)) return fail(Code::invalid, "--listen {}: {}", config.listen, only_local);
  EBB_TRY(pools, read_pools(file));
  for (const auto& [id, pool] : pools) {
    EBB_TRY(default_class, read_default_class(pool));
    config.default_classes[id] = default_class;
  }
  config.pools = pools;
  EBB_TRY(liveness, file.table("liveness"));
  EBB_TRY(silent, liveness.duration("silent", 10s));
  EBB_TRY(suspect, liveness.duration("suspect", 60s));
  if (suspect < silent) return liveness.wrong("suspect", "must not be shorter than silent");
  config.limits.liveness = {silent, suspect};

  EBB_TRY(moves, file.table("moves"));
  constexpr std::int64_t moves_max = 100'000;
  const drain::PaceLimits usual;
  EBB_TRY(least, moves.integer("tenant_min", 1, moves_max, usual.tenant_moves_min));
  EBB_TRY(percent, moves.integer("tenant_percent", 0, 100, usual.tenant_moves_percent));
  EBB_TRY(of_vm, moves.integer("vm_max", 0, moves_max, usual.vm_moves_max));
  EBB_TRY(dead_least, moves.integer("dead_min", 0, moves_max, usual.brake.dead_min));
  EBB_TRY(dead_percent, moves.integer("dead_percent", 0, 100, usual.brake.dead_percent));
  EBB_TRY(horizon, moves.duration("horizon", std::chrono::milliseconds(usual.horizon_ms)));
  EBB_TRY(by_label, moves.integer_map("label_max", 1, moves_max));
  auto& pace = config.limits.pace;
  pace.tenant_moves_min = static_cast<std::uint32_t>(least);
  pace.tenant_moves_percent = static_cast<std::uint32_t>(percent);
  pace.vm_moves_max = static_cast<std::uint32_t>(of_vm);
  pace.brake = {static_cast<std::uint32_t>(dead_least), static_cast<std::uint32_t>(dead_percent)};
  pace.horizon_ms = to_ms(horizon);
  EBB_TRY(rack, moves.integer("rack_max", 0, moves_max, 0));  // as it was called once
  if (rack > 0) pace.label_moves_max["rack"] = static_cast<std::uint32_t>(rack);
  for (const auto& [label, most] : by_label) pace.label_moves_max[label] = static_cast<std::uint32_t>(most);

  EBB_TRY(returning, file.table("return"));
  control::ReturnLimits returns;
  EBB_TRY(image, returning.string("image", ""));
  EBB_TRY(memory, returning.size("memory", returns.memory_bytes));
  EBB_TRY(timeout, returning.duration("timeout", returns.timeout));
  EBB_TRY(clock, returning.duration("clock", returns.clock));
  if (!image.empty() && !is_valid_name(image))
    return returning.wrong("image", "must be the name of an image");
  if (memory < 16 * MiB) return returning.wrong("memory", "must be 16MiB or more");
  if (timeout < 10s) return returning.wrong("timeout", "must be 10s or more");
  if (!image.empty()) returns.image = ImageId(image);
  returns.memory_bytes = memory, returns.timeout = timeout, returns.clock = clock;
  config.limits.returns = returns;
  EBB_CHECKED(file.finish());
  return config;
}

// The token in `path`; made, readable by its owner alone, if it is not there.
Task<Result<std::string>> token_in(RealEnv& env, std::string path) {
  auto found = co_await env.files.read_all(path);
  if (found) {
    std::string token(as_text(*found));
    while (!token.empty() && (token.back() == '\n' || token.back() == ' ')) token.pop_back();
    if (token.size() < 16)
      co_return fail(Code::invalid,
                     "{} holds no token of at least 16 characters: remove it, and a new one is made", path);
    co_return token;
  }
  if (found.error().code != Code::not_found) co_return fail(found.error());
  auto token = env.loop.random().token(40);
  const auto old_mask = umask(0077);
  auto written = co_await env.files.write_atomic(path, to_bytes(token + "\n"));
  umask(old_mask);
  EBB_CO_CHECKED(written);
  co_return token;
}

struct Opened {
  std::unique_ptr<SqliteStore> records;
  std::string operator_token, join_token;
};

Task<Result<Opened>> open_state(RealEnv& env, Offload& threads, std::string dir) {
  EBB_CO_CHECKED(co_await env.files.make_dirs(dir));
  EBB_CO_TRY(records, SqliteStore::open(env.loop, threads, dir + "/records.db"));
  EBB_CO_TRY(operator_token, co_await token_in(env, dir + "/operator.token"));
  EBB_CO_TRY(join_token, co_await token_in(env, dir + "/join.token"));
  co_return Opened{std::move(records), operator_token, join_token};
}

Status run(std::string path, std::optional<std::string> listen) {
  EBB_TRY(config, read_config(path, listen));
  Logger log(make_stderr_sink(config.log_level), "ebbd");
  raise_open_files_limit();
  RealEnv env;
  AsioOffload threads(env.loop);

  EBB_TRY(state, run_until_done(env.loop, open_state(env, threads, config.state_dir)));
  EBB_TRY(stores, run_until_done(env.loop, open_pools(env.loop, config.pools,
                                                      probing_opener(env.files, config.state_dir))));
  std::map<PoolId, control::Pool> pools;
  for (auto& [id, store] : stores) pools[id] = {store.get(), store.get(), config.default_classes.at(id)};
  control::ControlPlane control(
      env.loop, *state.records, std::move(pools),
      {state.operator_token, state.join_token, ebb_openapi, config.limits, config.reclaim_every}, log);

  EBB_TRY(server,
          env.http.serve(
              config.listen, [&control](HttpRequest request) { return control.handle(std::move(request)); },
              8 * MiB));
  EBB_CHECKED(run_until_done(env.loop, control.start()));
  env.loop.on_signal([&](int) {
    log.info("ending");
    env.loop.stop();
  });
  log.info("listening on {}", server->address());
  env.loop.run();
  return {};
}

}  // namespace
}  // namespace ebb

int main(int argc, char** argv) {
  ebb::use_large_pages(argv);
  auto listen = ebb::take_option(argc, argv, "--listen");
  return ebb::daemon_main(argc, argv, "ebbd", ebb::usage,
                          [listen](std::string path) { return ebb::run(std::move(path), listen); });
}
