// A checkpoint: the map of a disk at exactly one committed log position. Its root knows all objects that hold
// data of the disk, and where each page of the map lies, of which many are older checkpoints' or a parent's.
#pragma once
#include <string>
#include <vector>

#include "disk/format/head_types.h"
#include "disk/format/limits.h"

namespace ebb::disk {

// An object that holds data: a segment.
struct DataObject {
  DiskId disk;
  DiskEpoch epoch;
  std::uint64_t seq = 0;
  std::uint32_t data_offset = 0;  // 0: not known yet, its head is not made
  auto operator<=>(const DataObject&) const = default;
};

// Names an object within one disk and its forks; rises, never used again.
using ObjectId = std::uint32_t;

struct MapObject {
  ObjectId id = 0;
  DataObject object;
  std::uint32_t blocks = 0;  // of data in it
  std::uint32_t live = 0;    // of them, how many this map refers to
  bool operator==(const MapObject&) const = default;
};

// An object with many map pages in it.
struct PagePack {
  DiskId disk;
  DiskEpoch epoch;
  std::uint64_t checkpoint = 0;
  std::uint32_t number = 0;
  std::uint32_t bytes = 0;
  auto operator<=>(const PagePack&) const = default;
};

struct PageRef {
  std::uint32_t page = 0;
  std::uint32_t pack = 0;  // index in the root's packs
  std::uint32_t offset = 0, bytes = 0;
  bool operator==(const PageRef&) const = default;
};

struct CheckpointRoot {
  DiskId disk;
  DiskEpoch epoch;
  std::uint64_t number = 0;
  std::uint64_t size_bytes = 0;
  LogPoint position;
  std::vector<LogPoint> lineage;  // all sealed epochs of this disk up to the position
  ObjectId next_object = 1;
  std::vector<MapObject> objects;  // by id, rising
  std::vector<PagePack> packs;
  std::vector<PageRef> pages;  // by page, rising; what is not here reads as zeroes
  bool operator==(const CheckpointRoot&) const = default;
};

struct MapRun {
  std::uint32_t block = 0;  // in this page
  std::uint32_t count = 0;
  ObjectId object = 0;
  std::uint32_t data_block = 0;
  bool operator==(const MapRun&) const = default;
};

struct MapPage {
  DiskId disk;  // whose checkpoint wrote it
  std::uint32_t page = 0;
  std::vector<MapRun> runs;         // by block, not overlapping
  std::vector<std::uint32_t> crcs;  // one for each block of each run
  bool operator==(const MapPage&) const = default;
};

Bytes encode(const CheckpointRoot& root);
Result<CheckpointRoot> decode_checkpoint_root(ByteView object);
Bytes encode(const MapPage& page);
Result<MapPage> decode_map_page(ByteView object);

}  // namespace ebb::disk
