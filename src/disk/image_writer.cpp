#include "disk/pool_admin.h"

namespace ebb::disk {
namespace {
constexpr std::string_view importer = "import";
}

ImageWriter::ImageWriter(Loop& loop, ObjectStore& store, DiskTuning tuning)
    : trouble_(loop), access_{&loop, &store, &trouble_}, tuning_(tuning) {}

Task<Status> ImageWriter::begin(DiskId disk, std::uint64_t size_bytes) {
  if (size_bytes == 0) co_return fail_field("size_bytes", "an image has at least one byte");
  disk_id_ = disk;
  size_bytes_ = (size_bytes + block_bytes - 1) / block_bytes * block_bytes;
  {
    PoolAdmin admin(*access_.loop, *access_.store);
    EBB_CO_CHECKED(co_await admin.create_empty_disk(disk, size_bytes_, DiskClass::remote));
  }
  EBB_CO_TRY(now, co_await read_head(access_, disk));
  disk_.reset();
  if (now.head.state == HeadState::sealed) co_return Status{};
  co_return co_await open_fresh();
}

// A former import that did not get to its end is taken over, and what it wrote is covered.
Task<Status> ImageWriter::open_fresh() {
  LogCache cache;
  EBB_CO_TRY(before, co_await read_head(access_, disk_id_));
  EBB_CO_TRY(claim, co_await claim_disk(access_, std::move(before),
                                        {0, std::string(importer), Replace::unconfirmed}));
  EBB_CO_TRY(sealed, co_await seal_all(access_, claim, &cache));
  bool begins_anew = !sealed.empty() || !claim.at.head.lineage.empty();
  EBB_CO_TRY(head, co_await publish_attached(access_, claim, std::move(sealed)));
  DiskMemory memory;
  EBB_CO_TRY(loaded, co_await load_map(access_, head.head, &cache, memory.pages));
  ObjectDisk::Parts parts{access_, std::move(head),   claim.opener, std::move(loaded),
                          nullptr, std::move(memory), tuning_};
  disk_ = std::make_unique<ObjectDisk>(std::move(parts));
  disk_->start();
  if (begins_anew) co_return co_await disk_->trim(0, size_bytes_);
  co_return Status{};
}

Task<Status> ImageWriter::write(std::uint64_t offset, Bytes bytes) {
  if (offset % block_bytes != 0)
    co_return fail(Code::invalid, "an image is written in whole blocks of 4096 bytes");
  bytes.resize((bytes.size() + block_bytes - 1) / block_bytes * block_bytes);
  if (offset + bytes.size() > size_bytes_)
    co_return fail(Code::invalid, "the image has more bytes than it was announced with");
  if (!disk_) co_return Status{};
  ByteView all = bytes;
  for (std::size_t at = 0; at < all.size();) {
    auto end = at;
    while (end < all.size() && !is_all_zero(all.subspan(end, block_bytes))) end += block_bytes;
    if (end > at) {
      auto run = all.subspan(at, end - at);
      EBB_CO_CHECKED(co_await disk_->write(offset + at, Bytes(run.begin(), run.end())));
    }
    at = std::max(end, at + block_bytes);
  }
  co_return Status{};
}

Task<Status> ImageWriter::finish() {
  if (!disk_) co_return Status{};
  EBB_CO_CHECKED(co_await disk_->seal_as_image(std::string(image_root)));
  disk_.reset();
  co_return Status{};
}

}  // namespace ebb::disk
