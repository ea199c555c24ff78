// What the mains of the daemons share: their command line, how they report a failure, and their pools.
#pragma once
#include <functional>

#include "base/id.h"
#include "config/toml_table.h"
#include "env/object_store.h"
#include "platform/asio_loop.h"

namespace ebb {

// A main: `NAME --config FILE` runs `run` with FILE, `--help` prints `usage`. A failure goes to stderr; the
// exit status is 2 if it is `invalid` (the configuration is to be mended), else 1.
int daemon_main(int argc, char** argv, const char* name, const char* usage,
                std::function<Status(std::string)> run);
// The word after `name`, if both are there; they are taken out of the command line.
std::optional<std::string> take_option(int& argc, char** argv, const char* name);

// The key `worker`.
Result<WorkerId> read_worker(const TomlTable& file);

// The tables [pools.NAME]; at least one is needed. What else than `url` stands there is the caller's to read.
struct PoolConfig {
  std::string url;
  TomlTable table;
};
using PoolConfigs = std::map<PoolId, PoolConfig>;
Result<PoolConfigs> read_pools(const TomlTable& file);

using PoolStores = std::map<PoolId, std::unique_ptr<ReclaimableStore>>;
// Which kinds of pools there are, a main knows: modules above this one open some of them.
using PoolOpener =
    std::function<Task<Result<std::unique_ptr<ReclaimableStore>>>(AsioLoop& loop, std::string url)>;
// Opens all of them; the error names the one that cannot be used.
Task<Result<PoolStores>> open_pools(AsioLoop& loop, PoolConfigs pools, PoolOpener opener);

}  // namespace ebb
