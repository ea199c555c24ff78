// For tests of the cache: a store with latency that counts, and objects whose bytes are known.
#pragma once
#include <gtest/gtest.h>

#include "disk/cache/piece_cache.h"
#include "sim/run_in.h"
#include "sim/sim_files.h"

namespace ebb::disk::testing {

inline DataObject object_at(std::uint64_t seq) { return {DiskId("d1"), {1, 1}, seq, 4096}; }

inline Bytes piece_of(std::uint64_t seq, std::uint32_t piece) {
  Bytes bytes(piece_bytes);
  for (std::size_t at = 0; at < bytes.size(); at += 8)
    store_le<std::uint64_t>(bytes, at, (seq << 32 | piece) * 0x9e3779b97f4a7c15 + at);
  return bytes;
}
inline SharedBytes shared_piece(std::uint64_t seq, std::uint32_t piece) {
  return std::make_shared<const Bytes>(piece_of(seq, piece));
}
inline PieceKey piece_key(std::uint64_t seq, std::uint32_t piece) { return {name_of(object_at(seq)), piece}; }

// Holds every object that object_at() names, with endless data.
class PatternStore final : public ObjectStore {
 public:
  explicit PatternStore(Loop& loop) : loop_(loop) {}
  Task<Result<ObjectTag>> put(std::string, SharedBytes, PutCondition) override {
    co_return fail(Code::invalid, "read-only");
  }
  Task<Result<StoredObject>> get(std::string) override { co_return fail(Code::invalid, "only ranges"); }
  Task<Result<Bytes>> get_range(std::string key, std::uint64_t offset, std::size_t length) override {
    ++gets, bytes_read += length;
    co_await sleep_for(loop_, latency);
    if (wrong_left > 0) {
      --wrong_left;
      co_return Bytes(length);
    }
    if (is_gone) co_return fail(Code::not_found, "{} is gone", key);
    auto seq = std::stoull(key.substr(key.rfind('/') + 1), nullptr, 16);
    Bytes out;
    for (auto at = offset - 4096; out.size() < length; at += piece_bytes)
      append(out, piece_of(seq, static_cast<std::uint32_t>(at / piece_bytes)));
    out.resize(length);
    co_return out;
  }

  std::uint64_t gets = 0, bytes_read = 0, wrong_left = 0;
  Duration latency = 30ms;
  bool is_gone = false;

 private:
  Loop& loop_;
};

// A worker with a cache, that can be killed and boot again.
class CacheWorld {
 public:
  explicit CacheWorld(std::uint64_t seed = 1) : world({.seed = seed}) { boot(0, 0); }
  void boot(std::size_t memory, std::uint64_t disk) {
    if (process) process->kill();
    process = &world.start_process("worker", "ebb-diskd");
    files = &process->make<sim::SimFiles>(*process, drive);
    store = &process->make<PatternStore>(process->loop());
    trouble = &process->make<Trouble>(process->loop());
    cache = &process->make<PieceCache>(memory);
    if (disk == 0) return;
    cache->add_disk(process->loop(), *files, DiskTier::Options("/cache", disk), world.logger("cache"));
    run_for(1s);
  }
  StoreAccess access() { return {&process->loop(), store, trouble}; }
  Result<PieceCache::Pieces> read(std::uint64_t seq, std::uint32_t first, std::uint32_t end,
                                  ReadFor purpose = ReadFor::use) {
    auto got = sim::run_in(*process, cache->read(access(), {object_at(seq), first, end}, purpose));
    return got ? std::move(*got) : fail(Code::unavailable, "did not end");
  }
  // Whether it is the right one.
  ::testing::AssertionResult is_right(std::uint64_t seq, std::uint32_t piece) {
    auto got = read(seq, piece, piece + 1);
    if (!got) return ::testing::AssertionFailure() << got.error().message;
    if (*got->at(0) != piece_of(seq, piece)) return ::testing::AssertionFailure() << "other bytes";
    return ::testing::AssertionSuccess();
  }
  void run_for(Duration duration) { ASSERT_TRUE(world.loop().run_for(duration)); }

  sim::SimWorld world;
  std::shared_ptr<sim::SimDrive> drive = std::make_shared<sim::SimDrive>();
  sim::SimProcess* process = nullptr;
  sim::SimFiles* files = nullptr;
  PatternStore* store = nullptr;
  Trouble* trouble = nullptr;
  PieceCache* cache = nullptr;
};

}  // namespace ebb::disk::testing
