// A checkpoint: the map of a disk at exactly one committed log position. A root names pages, of which many
// are older checkpoints' or a parent's.
#pragma once
#include <string>
#include <vector>

#include "disk/format/head_types.h"
#include "disk/format/limits.h"

namespace ebb::disk {

struct PageRef {
  std::uint32_t page = 0;
  DiskId disk;
  DiskEpoch epoch;
  std::uint64_t checkpoint = 0;
  std::uint64_t bytes = 0;
  std::uint32_t crc32c = 0;
  bool operator==(const PageRef&) const = default;
};

struct CheckpointRoot {
  DiskId disk;
  DiskEpoch epoch;
  std::uint64_t number = 0;
  std::uint64_t size_bytes = 0;
  LogPoint position;
  std::vector<LogPoint> lineage;  // all sealed epochs of this disk up to the position
  std::vector<PageRef> pages;     // by page, rising; what is not here reads as zeroes
  bool operator==(const CheckpointRoot&) const = default;
};

// A segment that holds data, as the map refers to it.
struct DataObject {
  DiskId disk;
  DiskEpoch epoch;
  std::uint64_t seq = 0;
  std::uint32_t data_offset = 0;
  auto operator<=>(const DataObject&) const = default;
};

struct MapRun {
  std::uint32_t block = 0;  // in this page
  std::uint32_t count = 0;
  std::uint32_t object = 0;
  std::uint32_t data_block = 0;
  bool operator==(const MapRun&) const = default;
};

struct MapPage {
  DiskId disk;
  DiskEpoch epoch;
  std::uint64_t checkpoint = 0;
  std::uint32_t page = 0;
  std::vector<DataObject> objects;
  std::vector<MapRun> runs;
  std::vector<std::uint32_t> crcs;  // one for each block of each run
  bool operator==(const MapPage&) const = default;
};

Bytes encode(const CheckpointRoot& root);
Result<CheckpointRoot> decode_checkpoint_root(ByteView object);
Bytes encode(const MapPage& page);
Result<MapPage> decode_map_page(ByteView object);

}  // namespace ebb::disk
