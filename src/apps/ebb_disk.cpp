// ebb-disk: looks at disks, and mends their maps, with nothing but the store.
#include <cstdio>

#include "base/text.h"
#include "disk/keys.h"
#include "disk/offline/offline.h"
#include "disk/offline/rebuild.h"
#include "disk/offline/scrub.h"
#include "platform/real_env.h"
#include "platform/s3/pool_store.h"

namespace ebb {
namespace {

constexpr const char* usage = R"(usage: ebb-disk COMMAND --pool URL DISK [FILE]

Works on a disk with nothing but the store (URL: dir:/PATH or s3://BUCKET/PREFIX?...). Only `rebuild` changes anything.
  ebb-disk head  --pool URL DISK        prints HEAD
  ebb-disk cat   --pool URL DISK FILE   writes the disk's content, sparse, to FILE
  ebb-disk check --pool URL DISK        reads what the disk holds now and verifies every checksum
  ebb-disk scrub --pool URL DISK        reads every object whole, holds what they say against the map, and
                                        prints each bad extent: first block, blocks, what is wrong
  ebb-disk rebuild --pool URL DISK      reads every object whole and makes the map anew from what they say; the VM must
                                        be stopped. If data is damaged, prints each bad extent and changes nothing
Exit status: 0 all is well, 1 damaged or not readable, 2 wrong usage.
)";

struct Arguments {
  std::string command, pool, disk, file;
};

struct Offline {
  RealEnv& env;
  disk::StoreAccess access;
};

Task<Status> print_head(Offline at, Arguments args) {
  EBB_CO_TRY(head, co_await disk::read_head(at.access, DiskId(args.disk)));
  std::printf("%s\n", json::to_pretty_text(json::write(head.head)).c_str());
  co_return Status{};
}

Task<Status> check(Offline at, Arguments args) {
  EBB_CO_TRY(report, co_await disk::check_offline(at.access, DiskId(args.disk)));
  std::printf("%s: all right: %s of data, %s of holes, %llu segments since the checkpoint\n",
              args.disk.c_str(), format_size(report.data_bytes).c_str(),
              format_size(report.hole_bytes).c_str(), static_cast<unsigned long long>(report.segments));
  co_return Status{};
}

void print_bad(const std::vector<disk::BadExtent>& extents) {
  for (const auto& bad : extents)
    std::printf("%llu %llu %s\n", static_cast<unsigned long long>(bad.block),
                static_cast<unsigned long long>(bad.count), bad.what.c_str());
}

Task<Status> scrub(Offline at, Arguments args) {
  EBB_CO_TRY(report, co_await disk::scrub(at.access, DiskId(args.disk)));
  print_bad(report.bad);
  auto read = fmt::format("{} of data in {} objects, {} of them live, and {} snapshots",
                          format_size(report.data_bytes), report.objects, format_size(report.live_bytes),
                          report.roots);
  if (report.bad_extents > 0)
    co_return fail(Code::corrupt,
                   "{}: {} bad extents ({}): restore a snapshot, or copy what is good with 'ebb-disk cat'",
                   args.disk, report.bad_extents, read);
  std::fprintf(stderr, "%s: all right: %s\n", args.disk.c_str(), read.c_str());
  co_return Status{};
}

Task<Status> rebuild(Offline at, Arguments args) {
  EBB_CO_TRY(report, co_await disk::rebuild(at.access, DiskId(args.disk)));
  print_bad(report.bad);
  if (report.bad_extents > 0)
    co_return fail(Code::corrupt,
                   "{}: {} bad extents, nothing was changed: restore a snapshot, or copy what is good with "
                   "'ebb-disk cat'",
                   args.disk, report.bad_extents);
  std::fprintf(
      stderr, "%s: rebuilt from %s of data in %llu objects, %s of them live: checkpoint %llu of epoch %s\n",
      args.disk.c_str(), format_size(report.data_bytes).c_str(),
      static_cast<unsigned long long>(report.objects), format_size(report.live_bytes).c_str(),
      static_cast<unsigned long long>(report.checkpoint.number), report.checkpoint.epoch.text().c_str());
  co_return Status{};
}

Task<Status> copy_out(Offline at, Arguments args) {
  EBB_CO_TRY(view, co_await disk::open_offline(at.access, DiskId(args.disk)));
  EBB_CO_TRY(file, co_await at.env.files.open(args.file, OpenMode::create));
  auto size = view.device->size_bytes();
  EBB_CO_CHECKED(co_await file->resize(0));
  EBB_CO_CHECKED(co_await file->resize(size));
  constexpr std::uint64_t step = 8 * MiB;
  for (std::uint64_t offset = 0; offset < size; offset += step) {
    EBB_CO_TRY(extents, co_await view.device->extents(offset, std::min(step, size - offset)));
    for (const auto& extent : extents) {
      if (extent.is_hole) continue;
      EBB_CO_TRY(data, co_await view.device->read(extent.offset, extent.length));
      EBB_CO_CHECKED(co_await file->write(extent.offset, std::move(data)));
    }
  }
  co_return co_await file->sync();
}

Task<Status> carry_out(RealEnv& env, Arguments args) {
  EBB_CO_TRY(store, co_await open_pool_store(env.loop, args.pool));
  disk::Trouble trouble(env.loop);
  Offline at{env, {&env.loop, store.get(), &trouble}};
  if (args.command == "head") co_return co_await print_head(at, args);
  if (args.command == "check") co_return co_await check(at, args);
  if (args.command == "scrub") co_return co_await scrub(at, args);
  if (args.command == "rebuild") co_return co_await rebuild(at, args);
  co_return co_await copy_out(at, args);
}

std::optional<Arguments> read_arguments(const std::vector<std::string>& words) {
  Arguments args;
  std::vector<std::string> plain;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (words[i] == "--pool" && i + 1 < words.size())
      args.pool = words[++i];
    else if (words[i].starts_with("--"))
      return std::nullopt;
    else
      plain.push_back(words[i]);
  }
  if (plain.empty()) return std::nullopt;
  args.command = plain[0];
  constexpr std::string_view commands[] = {"head", "check", "scrub", "rebuild", "cat"};
  bool is_known = std::ranges::find(commands, args.command) != std::end(commands);
  if (!is_known || args.pool.empty() || plain.size() != (args.command == "cat" ? 3u : 2u))
    return std::nullopt;
  args.disk = plain[1];
  if (plain.size() == 3) args.file = plain[2];
  return args;
}

}  // namespace
}  // namespace ebb

int main(int argc, char** argv) {
  std::vector<std::string> words(argv + 1, argv + argc);
  if (words.size() == 1 && (words[0] == "--help" || words[0] == "-h"))
    return std::fputs(ebb::usage, stdout), 0;
  auto args = ebb::read_arguments(words);
  if (!args) return std::fputs(ebb::usage, stderr), 2;
  if (!ebb::is_valid_name(args->disk))
    return std::fprintf(stderr, "ebb-disk: '%s' is no valid name for a disk\n", args->disk.c_str()), 2;
  ebb::RealEnv env;
  auto done = ebb::run_until_done(env.loop, ebb::carry_out(env, *args));
  if (done) return 0;
  std::fprintf(stderr, "ebb-disk: %s\n", done.error().message.c_str());
  return 1;
}
