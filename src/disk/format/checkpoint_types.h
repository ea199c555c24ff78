// A checkpoint: the map of a disk at exactly one committed log position. Its root knows all objects that hold
// data of the disk, and where each page of the map lies, of which many are older checkpoints' or a parent's.
#pragma once
#include <string>
#include <vector>

#include "disk/format/head_types.h"
#include "disk/format/limits.h"

namespace ebb::disk {

enum class ObjectKind : std::uint32_t { segment = 0, cleaned = 1 };

// An object that holds data: a segment, or what the cleaner gathered from several.
struct DataObject {
  DiskId disk;
  DiskEpoch epoch;
  std::uint64_t seq = 0;          // of a cleaned object: its number
  std::uint32_t data_offset = 0;  // 0: not known yet, its head is not made
  ObjectKind kind = ObjectKind::segment;
  bool is_packed = false;  // how the data is stored: see packed_data.h
  auto operator<=>(const DataObject&) const = default;
};

// Names an object within one disk and its forks; rises, never used again.
using ObjectId = std::uint32_t;

struct MapObject {
  ObjectId id = 0;
  DataObject object;
  std::uint32_t blocks = 0;  // of data in it
  std::uint32_t live = 0;    // of them, how many this map refers to
  std::uint32_t trims =
      0;  // extents of zeroes in it: a map that is rebuilt needs them while older data lies about
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

// Something of this disk that its map no longer needs. A named root may: reclaim looks.
struct Condemned {
  enum class Kind : std::uint32_t {
    segment = 0,  // epoch, number: its sequence
    cleaned = 1,  // epoch, number
    pack = 2,     // epoch, number: of its checkpoint; pack
    root = 3,     // epoch, number
    lost_checkpoint =
        4,  // epoch, number: if it was begun at all, HEAD never named it; all its packs and its root
    lost_cleaned = 5,  // epoch: cleaned objects from number on, if there are any, no checkpoint names
  };
  Kind kind = Kind::segment;
  DiskEpoch epoch;
  std::uint64_t number = 0;
  std::uint32_t pack = 0;
  auto operator<=>(const Condemned&) const = default;
};

// What one checkpoint condemned.
struct CondemnedGroup {
  CheckpointId by;
  std::vector<Condemned> objects;
  bool operator==(const CondemnedGroup&) const = default;
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
  std::vector<PageRef> pages;             // by page, rising; what is not here reads as zeroes
  std::uint64_t cleaned = 0;              // the last cleaned object of this epoch so far
  std::vector<CondemnedGroup> condemned;  // oldest first; a group goes once HEAD says that it was reclaimed
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

CheckpointId id_of(const CheckpointRoot& root);
Bytes encode(const CheckpointRoot& root);
Result<CheckpointRoot> decode_checkpoint_root(ByteView object);
Bytes encode(const MapPage& page);
Result<MapPage> decode_map_page(ByteView object);

}  // namespace ebb::disk
