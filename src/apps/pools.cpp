#include "pools.h"

#include <cstdio>

#include "disk/format/hash.h"
#include "disk/pool_probe.h"
#include "env/scope.h"
#include "platform/s3/pool_store.h"

namespace ebb {
namespace {

using Opened = Result<std::unique_ptr<ReclaimableStore>>;
constexpr Duration patience = 10s;

Task<Status> probe_known(Loop& loop, ReclaimableStore& store, std::string url) {
  auto probed =
      co_await with_timeout(loop, disk::probe_pool(loop, store, {.races = 2, .overwrites = 2}), patience);
  if (probed && *probed && (*probed)->is_good()) co_return Status{};
  if (probed && *probed)
    co_return fail(Code::invalid, "the store breaks promises that disks rest on: {}",
                   (*probed)->what_is_wrong());
  auto why = probed
                 ? probed->error()
                 : Error{Code::unavailable, fmt::format("no answer within {} s", to_ms(patience) / 1000), {}};
  std::fprintf(stderr,
               "warning: pool %s cannot be probed now, and is used because it has passed before: %s\n",
               url.c_str(), why.message.c_str());
  co_return Status{};
}

Task<Status> probe_new(Loop& loop, ReclaimableStore& store) {
  auto probed = co_await disk::require_good_pool(loop, store);
  if (!probed && probed.error().code == Code::unavailable)
    co_return fail(Code::unavailable,
                   "it was never used from here and cannot be probed now ('ebb pool check' asks again): {}",
                   probed.error().message);
  co_return probed;
}

Task<Opened> open_pool(AsioLoop& loop, Files& files, std::string marks, std::string url) {
  EBB_CO_TRY(store, co_await open_pool_store(loop, url));
  const auto mark = fmt::format("{}/{}", marks, disk::sha256_hex(as_bytes(url)));
  if (co_await files.read_all(mark)) {
    EBB_CO_CHECKED(co_await probe_known(loop, *store, url));
    co_return std::move(store);
  }
  EBB_CO_CHECKED(co_await probe_new(loop, *store));
  EBB_CO_CHECKED(co_await files.make_dirs(marks));
  EBB_CO_CHECKED(co_await files.write_atomic(mark, {}));
  co_return std::move(store);
}

}  // namespace

PoolOpener probing_opener(Files& files, std::string state_dir) {
  return [&files, marks = state_dir + "/good-pools"](AsioLoop& loop, std::string url) {
    return open_pool(loop, files, marks, std::move(url));
  };
}

}  // namespace ebb
