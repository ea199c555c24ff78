#include "disk/attach/head_store.h"

#include "base/check.h"
#include "base/checksum.h"
#include "disk/block_device.h"
#include "disk/format/limits.h"
#include "disk/keys.h"

namespace ebb::disk {

std::string fresh_token(Loop& loop) { return loop.random().token(20); }

Task<Result<HeadAt>> read_head(StoreAccess access, DiskId disk) {
  auto got = co_await access.get(head_key(disk));
  if (!got && got.error().code == Code::not_found)
    co_return fail(Code::not_found, "the pool has no disk '{}'", disk);
  if (!got) co_return fail(std::move(got).error().within(fmt::format("reading HEAD of {}", disk)));
  EBB_CO_TRY(head, decode_head(got->body, disk));
  co_return HeadAt{std::move(head), got->tag};
}

Status check_disk_size(std::uint64_t size_bytes) {
  if (size_bytes > 0 && size_bytes % block_bytes == 0 && size_bytes <= disk_bytes_max) return {};
  return fail_field("size_bytes", "a disk's size must be a multiple of 4096 between 4 KiB and 64 TiB, not {}",
                    size_bytes);
}

Status check_growth(const Head& head, std::uint64_t size_bytes) {
  EBB_CHECKED(check_disk_size(size_bytes));
  if (size_bytes >= head.size_bytes) return {};
  return fail_field("size_bytes",
                    "disk '{}' has {} bytes and does not shrink: what it holds beyond {} would be lost",
                    head.disk, head.size_bytes, size_bytes);
}

Task<Result<HeadAt>> create_head(StoreAccess access, Head head) {
  head.nonce = fresh_token(*access.loop);
  auto body = std::make_shared<const Bytes>(encode(head));
  if (co_await access.put_once(head_key(head.disk), body) == StoreAccess::Put::other) {
    co_return fail(Code::conflict, "disk '{}' exists already", head.disk);
  }
  co_return co_await read_head(access, head.disk);
}

namespace {

// Sends `next` from the tag of `from` until HEAD has left that tag, and returns what it then is.
struct Settled {
  HeadAt now;
  bool is_ours = false;
};
Task<Result<Settled>> settle(StoreAccess access, HeadAt from, Head next) {
  std::set<std::string> sent;
  for (Backoff backoff(*access.loop);; co_await backoff.wait()) {
    next.nonce = fresh_token(*access.loop);
    sent.insert(next.nonce);
    auto put = co_await access.store->put(head_key(next.disk), std::make_shared<const Bytes>(encode(next)),
                                          PutCondition::if_match(from.tag));
    if (put) {
      access.trouble->ended();
      co_return Settled{{std::move(next), *put}, true};
    }
    if (put.error().code != Code::conflict) access.trouble->failed("the store", put.error());
    EBB_CO_TRY(now, co_await read_head(access, next.disk));
    bool has_changed = now.tag != from.tag;
    if (has_changed) {
      bool is_ours = sent.contains(now.head.nonce);
      co_return Settled{std::move(now), is_ours};
    }
  }
}

}  // namespace

Task<Result<HeadAt>> change_head(StoreAccess access, HeadAt from, HeadChange change) {
  constexpr int others_max = 200;  // changes of others that we step aside for
  for (int tries = 0; tries < others_max; ++tries) {
    EBB_CO_TRY(next, change(from.head));
    EBB_CO_TRY(settled, co_await settle(access, std::move(from), std::move(next)));
    if (settled.is_ours) co_return std::move(settled.now);
    from = std::move(settled.now);
  }
  co_return fail(Code::busy, "HEAD of {} was changed by others {} times in a row", from.head.disk,
                 others_max);
}

Task<Result<RootsPage>> read_roots(StoreAccess access, Head head) {
  if (!head.roots) co_return RootsPage{};
  EBB_CO_TRY(got, co_await access.get(roots_key(head.disk, head.roots->nonce)));
  if (got.body.size() != head.roots->bytes || crc32c(got.body) != head.roots->crc32c) {
    co_return fail(Code::corrupt, "the page of roots of {} is not the one that HEAD names", head.disk);
  }
  co_return decode_roots(got.body);
}

Task<RootsRef> store_roots(StoreAccess access, DiskId disk, RootsPage page) {
  auto body = std::make_shared<const Bytes>(encode(page));
  RootsRef ref{fresh_token(*access.loop), body->size(), crc32c(*body), page.owed()};
  auto put = co_await access.put_once(roots_key(disk, ref.nonce), body);
  CHECK(put == StoreAccess::Put::stored);
  co_return ref;
}

void record_checkpoint(Head& head, const CheckpointRef& checkpoint) {
  head.checkpoint = checkpoint;
  std::erase_if(head.lineage, [&](const LogPoint& point) { return point.epoch < checkpoint.position.epoch; });
}

}  // namespace ebb::disk
