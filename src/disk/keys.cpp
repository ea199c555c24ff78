#include "disk/keys.h"

#include "base/check.h"
#include "base/checksum.h"

namespace ebb::disk {
namespace {
std::string epoch_part(DiskEpoch e) { return fmt::format("{:012x}-{:08x}", e.placement, e.incarnation); }
}  // namespace

std::string head_key(const DiskId& disk) { return fmt::format("v/{}/HEAD", disk); }

std::string segment_key(const DiskId& disk, DiskEpoch epoch, std::uint64_t seq) {
  return fmt::format("s/{:02x}/{}/{}/{:012x}", crc32c(as_bytes(disk.str())) & 0xff, disk, epoch_part(epoch),
                     seq);
}

std::string cleaned_key(const DiskId& disk, DiskEpoch epoch, std::uint64_t number) {
  return fmt::format("g/{}/{}/{:012x}", disk, epoch_part(epoch), number);
}

std::string data_object_key(const DataObject& object) {
  switch (object.kind) {
    case ObjectKind::segment:
      return segment_key(object.disk, object.epoch, object.seq);
    case ObjectKind::cleaned:
      return cleaned_key(object.disk, object.epoch, object.seq);
  }
  CHECK(false);
}

std::string text_of(const DataObject& object) {
  return fmt::format("{} {}/{}/{}", object.kind == ObjectKind::cleaned ? "cleaned object" : "segment",
                     object.disk, object.epoch.text(), object.seq);
}

std::string checkpoint_root_key(const DiskId& disk, DiskEpoch epoch, std::uint64_t number) {
  return fmt::format("m/{}/{}/{:012x}/root", disk, epoch_part(epoch), number);
}

std::string checkpoint_root_copy_key(const DiskId& disk, DiskEpoch epoch, std::uint64_t number) {
  return checkpoint_root_key(disk, epoch, number) + "-copy";
}

std::string map_pack_key(const DiskId& disk, DiskEpoch epoch, std::uint64_t checkpoint, std::uint32_t pack) {
  return fmt::format("m/{}/{}/{:012x}/{:08x}", disk, epoch_part(epoch), checkpoint, pack);
}

std::string hints_key(const DiskId& disk, DiskEpoch epoch) {
  return fmt::format("m/{}/{}/hints", disk, epoch_part(epoch));
}

std::string roots_key(const DiskId& disk, const std::string& nonce) {
  return fmt::format("r/{}/{}", disk, nonce);
}

std::string blob_key(const std::string& id, std::uint64_t chunk) {
  return fmt::format("b/{}/{:012x}", id, chunk);
}

}  // namespace ebb::disk
