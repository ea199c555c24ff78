// The map of a disk in memory: for each block where its bytes lie and what their CRC is. Pages (256 MiB of
// disk) remember whether they changed since the last checkpoint, which writes only those.
#pragma once
#include <array>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "disk/format/checkpoint_types.h"
#include "disk/format/segment_types.h"

namespace ebb::disk {

using ObjectIndex = std::uint32_t;

// Consecutive blocks that lie one after the other in one object; or a hole.
struct MapPiece {
  std::uint64_t block = 0;
  std::uint64_t count = 0;
  std::optional<ObjectIndex> object;  // absent: reads as zeroes
  std::uint32_t data_block = 0;
  bool operator==(const MapPiece&) const = default;
};

class BlockMap {
 public:
  explicit BlockMap(std::uint64_t size_bytes);

  std::uint64_t size_blocks() const { return blocks_; }
  // The table of objects; the same object gets the same index.
  ObjectIndex intern(const DataObject& object);
  const DataObject& object(ObjectIndex index) const { return objects_[index]; }
  // Known only once the segment's head is made.
  void set_data_offset(ObjectIndex index, std::uint32_t data_offset);

  void set(std::uint64_t block, std::span<const std::uint32_t> crcs, ObjectIndex object,
           std::uint32_t data_block);
  void clear(std::uint64_t block, std::uint64_t count);
  // Everything in the range, in order, without gaps.
  std::vector<MapPiece> find(std::uint64_t block, std::uint64_t count) const;
  std::uint32_t crc(std::uint64_t block) const;

  // Applies what a segment says. corrupt if it lies outside the disk.
  Status apply(const ReadSegment& segment);

  // Checkpoints. The map as it is now, in pages: those that changed as bytes to store, and references to all.
  struct NewPage {
    std::uint32_t page = 0;
    Bytes body;
  };
  struct Snapshot {
    std::vector<NewPage> pages;
    std::vector<PageRef> refs;
  };
  Snapshot take_snapshot(const DiskId& disk, DiskEpoch epoch, std::uint64_t checkpoint);
  std::size_t dirty_pages() const { return dirty_.size(); }
  // Reading one back: the page becomes clean, under `ref`.
  Status load(const MapPage& page, const PageRef& ref);

 private:
  static constexpr std::uint32_t leaf_blocks = 1024;
  static constexpr std::uint64_t absent = ~std::uint64_t{0};
  struct Leaf {
    std::array<std::uint64_t, leaf_blocks> at;  // object << 32 | data block
    std::array<std::uint32_t, leaf_blocks> crc;
    Leaf() { at.fill(absent), crc.fill(0); }
  };
  std::uint64_t at(std::uint64_t block) const;
  Leaf& leaf(std::uint64_t block);
  MapPage make_page(std::uint32_t page) const;

  std::uint64_t blocks_;
  std::vector<std::unique_ptr<Leaf>> leaves_;
  std::vector<DataObject> objects_;
  std::map<std::tuple<DiskId, DiskEpoch, std::uint64_t>, ObjectIndex> index_;
  std::map<std::uint32_t, PageRef> refs_;
  std::set<std::uint32_t> dirty_;
};

}  // namespace ebb::disk
