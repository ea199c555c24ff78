// What the disk benchmark needs beside the daemon: disks made and forked in a pool, without a control plane.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "disk/cleaning/reclaim.h"
#include "disk/opening.h"
#include "disk/pool_admin.h"
#include "disk/testing/round_counter.h"
#include "env/scope.h"
#include "platform/real_env.h"
#include "platform/s3/pool_store.h"

namespace ebb {
namespace {

constexpr const char* usage = R"(usage: ebb-bench-disk COMMAND POOL_URL ...
  create URL DISK BYTES local|remote   an empty disk
  image  URL DISK BYTES DATA_BYTES     an image of that size with so much data at its beginning
  fork   URL IMAGE DISK BYTES N [ROOT] N forks, DISK-1 ..., of an image or of a disk's root; prints the milliseconds of each
  reclaim URL DISK                     removes what the disk no longer needs, as the control plane does; prints how many objects
  objects URL BYTES N PARALLEL         puts N objects of that size, so many at a time, and reads them back; prints the seconds of
                                       either: what the store itself can do
  rounds URL DISK FOLDER               opens a detached disk, and once more as after a crash; prints how many requests to the
                                       store depended on each other, and how many there were, each time. FOLDER is for its log
)";

Task<Status> make_image(RealEnv& env, ObjectStore& store, std::string disk, std::uint64_t bytes,
                        std::uint64_t data) {
  disk::ImageWriter writer(env.loop, store);
  EBB_CO_CHECKED(co_await writer.begin(DiskId(disk), bytes));
  constexpr std::uint64_t step = 8 * MiB;
  for (std::uint64_t at = 0; at < data; at += step) {
    Bytes piece(std::min(step, data - at));
    for (std::size_t i = 0; i + 8 <= piece.size(); i += 8)
      store_le<std::uint64_t>(piece, i, env.loop.random().next());
    EBB_CO_CHECKED(co_await writer.write(at, std::move(piece)));
  }
  co_return co_await writer.finish();
}

Task<Status> fork_many(RealEnv& env, disk::PoolAdmin& admin, std::string image, std::string disk,
                       std::uint64_t bytes, int count, std::string root) {
  for (int i = 1; i <= count; ++i) {
    auto began = env.loop.now();
    EBB_CO_CHECKED(co_await admin.create_fork(DiskId(image), DiskId(fmt::format("{}-{}", disk, i)), bytes,
                                              DiskClass::remote, root));
    std::printf("%.3f\n", to_seconds(env.loop.now() - began) * 1000);
  }
  co_return Status{};
}

template <class T>
Task<Status> checked(Task<Result<T>> request) {
  auto answer = co_await std::move(request);
  if (!answer) co_return fail(std::move(answer).error());
  co_return Status{};
}

// Every `step`-th object from `first` on.
Task<Status> move_objects(ObjectStore& store, SharedBytes body, std::uint64_t first, std::uint64_t count,
                          std::uint64_t step, bool is_put) {
  for (auto i = first; i < count; i += step) {
    auto key = fmt::format("raw/{}", i);
    EBB_CO_CHECKED(
        co_await (is_put ? checked(store.put(key, body, PutCondition::always())) : checked(store.get(key))));
  }
  co_return Status{};
}

Task<Status> time_objects(RealEnv& env, ObjectStore& store, std::uint64_t bytes, std::uint64_t count,
                          std::uint64_t parallel) {
  Bytes body(bytes);
  for (std::size_t i = 0; i + 8 <= body.size(); i += 8) store_le(body, i, env.loop.random().next());
  const auto shared = std::make_shared<const Bytes>(std::move(body));
  for (bool is_put : {true, false}) {
    const auto began = env.loop.now();
    std::vector<Task<Status>> tasks;
    for (std::uint64_t i = 0; i < parallel; ++i)
      tasks.push_back(move_objects(store, shared, i, count, parallel, is_put));
    for (auto& done : co_await when_all(env.loop, std::move(tasks))) EBB_CO_CHECKED(std::move(done));
    std::printf("%.4f\n", to_seconds(env.loop.now() - began));
  }
  co_return Status{};
}

// One attach through a store that counts; what is written stays in the log. The disk is then dropped as by a
// crash.
Task<Status> open_counted(RealEnv& env, ObjectStore& store, std::string disk, std::string folder) {
  disk::testing::Rounds rounds;
  disk::testing::CountedStore counted(env.loop, store, rounds);
  disk::Trouble trouble(env.loop);
  disk::LogCache cache;
  disk::StoreAccess access{&env.loop, &counted, &trouble};
  EBB_CO_TRY(before, co_await disk::read_head(access, DiskId(disk)));
  rounds = {};
  disk::OpeningTools tools{access, &env.files, &trouble, &cache, {}, {}};
  disk::OpeningRequest request{DiskId(disk),
                               PoolId("main"),
                               before.head.epoch.placement,
                               "bench",
                               before.head.disk_class,
                               disk::Replace::confirmed,
                               folder,
                               {}};
  EBB_CO_TRY(opened, co_await disk::open_disk(std::move(tools), std::move(request)));
  std::printf("%d %d\n", rounds.deepest(), rounds.requests);
  opened.disk->start();
  Bytes data(64 * KiB, std::byte{7});
  for (std::uint64_t i = 0; i < 64; ++i) EBB_CO_CHECKED(co_await opened.disk->write(i * 64 * KiB, data));
  EBB_CO_CHECKED(co_await opened.disk->flush());
  opened.disk->stop(Error{Code::unavailable, "as by a crash", {}});
  co_return Status{};
}

Task<Status> reclaim_once(RealEnv& env, ReclaimableStore& store, std::string disk) {
  disk::Trouble trouble(env.loop);
  EBB_CO_TRY(done, co_await disk::reclaim({&env.loop, &store, &trouble}, &store, DiskId(disk)));
  std::printf("%llu\n", static_cast<unsigned long long>(done.objects));
  co_return Status{};
}

Task<Status> carry_out(RealEnv& env, std::vector<std::string> words) {
  EBB_CO_TRY(store, co_await open_pool_store(env.loop, words[1]));
  disk::PoolAdmin admin(env.loop, *store);
  EBB_CO_CHECKED(co_await admin.prepare());
  auto number = [&](std::size_t i) { return std::strtoull(words[i].c_str(), nullptr, 10); };
  if (words[0] == "create" && words.size() == 5)
    co_return co_await admin.create_empty_disk(DiskId(words[2]), number(3),
                                               words[4] == "local" ? DiskClass::local : DiskClass::remote);
  if (words[0] == "image" && words.size() == 5)
    co_return co_await make_image(env, *store, words[2], number(3), number(4));
  if (words[0] == "fork" && (words.size() == 6 || words.size() == 7)) {
    auto root = words.size() == 7 ? words[6] : std::string(disk::image_root);
    co_return co_await fork_many(env, admin, words[2], words[3], number(4), static_cast<int>(number(5)),
                                 root);
  }
  if (words[0] == "reclaim" && words.size() == 3) co_return co_await reclaim_once(env, *store, words[2]);
  if (words[0] == "objects" && words.size() == 5)
    co_return co_await time_objects(env, *store, number(2), number(3), number(4));
  if (words[0] == "rounds" && words.size() == 4) {
    for (int i = 0; i < 2; ++i) EBB_CO_CHECKED(co_await open_counted(env, *store, words[2], words[3]));
    co_return Status{};
  }
  co_return fail(Code::invalid, "{}", usage);
}

}  // namespace
}  // namespace ebb

int main(int argc, char** argv) {
  std::vector<std::string> words(argv + 1, argv + argc);
  if (words.size() < 2) return std::fputs(ebb::usage, stderr), 2;
  ebb::RealEnv env;
  auto done = ebb::run_until_done(env.loop, ebb::carry_out(env, words));
  if (!done) std::fprintf(stderr, "ebb-bench-disk: %s\n", done.error().message.c_str());
  return done ? 0 : 1;
}
