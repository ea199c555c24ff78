// HEAD, the only mutable object of a disk, and the page of named roots that it points to.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "disk/format/text_object.h"
#include "model/fleet_types.h"

namespace ebb::disk {

// Every process start that opens a disk takes a new one; none is ever resumed.
struct DiskEpoch {
  std::uint64_t placement = 0, incarnation = 0;
  auto operator<=>(const DiskEpoch&) const = default;
  std::string text() const { return fmt::format("{}.{}", placement, incarnation); }
};
BOOST_DESCRIBE_STRUCT(DiskEpoch, (), (placement, incarnation))

// The last segment of a run of one epoch, and what must be known to go on from there.
struct LogPoint {
  DiskEpoch epoch;
  std::string opener;
  std::uint64_t seq = 0;
  std::uint64_t write_seq = 0;
  std::string chain;
  std::string log_id;
  std::uint64_t log_position = 0;
  bool operator==(const LogPoint&) const = default;
};
BOOST_DESCRIBE_STRUCT(LogPoint, (), (epoch, opener, seq, write_seq, chain, log_id, log_position))

struct CheckpointRef {
  DiskId disk;  // a fork begins with its parent's
  DiskEpoch epoch;
  std::uint64_t number = 0;
  std::uint64_t bytes = 0;
  std::uint32_t crc32c = 0;
  LogPoint position;
  bool operator==(const CheckpointRef&) const = default;
};
BOOST_DESCRIBE_STRUCT(CheckpointRef, (), (disk, epoch, number, bytes, crc32c, position))

struct CheckpointId {
  DiskEpoch epoch;
  std::uint64_t number = 0;
  auto operator<=>(const CheckpointId&) const = default;
};
BOOST_DESCRIBE_STRUCT(CheckpointId, (), (epoch, number))

struct RootsRef {
  std::string nonce;
  std::uint64_t bytes = 0;
  std::uint32_t crc32c = 0;
  bool operator==(const RootsRef&) const = default;
};
BOOST_DESCRIBE_STRUCT(RootsRef, (), (nonce, bytes, crc32c))

struct ParentRef {
  DiskId disk;
  std::string root;
  bool operator==(const ParentRef&) const = default;
};
BOOST_DESCRIBE_STRUCT(ParentRef, (), (disk, root))

//   (created) detached_clean <-------------.
//        |                                  \ flush, fence own next place
//        v                                   \                            .
//    attaching -- all unsealed sealed --> attached          any -> deleted (after a take-over)
//        ^--- a newer opener ------------------'            attached -> sealed (a finished image)
enum class HeadState { attaching, attached, detached_clean, sealed, deleted };
BOOST_DESCRIBE_ENUM(HeadState, attaching, attached, detached_clean, sealed, deleted)

struct Head {
  DiskId disk;
  std::uint64_t size_bytes = 0;
  DiskClass disk_class = DiskClass::remote;
  HeadState state = HeadState::detached_clean;
  DiskEpoch epoch;
  std::string owner, opener;
  std::string nonce;
  std::optional<CheckpointRef> checkpoint;
  std::vector<LogPoint> lineage;
  std::vector<LogPoint> unsealed;
  std::optional<RootsRef> roots;
  std::optional<ParentRef> parent;
  std::optional<CheckpointId> reclaimed;  // what was condemned up to this checkpoint is gone, or held by a named root
  std::uint32_t key_id = 0;
  bool operator==(const Head&) const = default;
};
BOOST_DESCRIBE_STRUCT(Head, (),
                      (disk, size_bytes, disk_class, state, epoch, owner, opener, nonce, checkpoint, lineage,
                       unsealed, roots, parent, reclaimed, key_id))

struct NamedRoot {
  std::string name;
  std::uint64_t size_bytes = 0;
  CheckpointRef checkpoint;
  bool operator==(const NamedRoot&) const = default;
};
BOOST_DESCRIBE_STRUCT(NamedRoot, (), (name, size_bytes, checkpoint))

// A disk that shares this one's objects.
struct ForkPin {
  DiskId disk;
  std::string root;
  bool operator==(const ForkPin&) const = default;
};
BOOST_DESCRIBE_STRUCT(ForkPin, (), (disk, root))

struct RootsPage {
  std::vector<NamedRoot> roots;
  std::vector<ForkPin> forks;
  bool operator==(const RootsPage&) const = default;
};
BOOST_DESCRIBE_STRUCT(RootsPage, (), (roots, forks))

Bytes encode(const Head& head);
// corrupt, or invalid if it is of a newer version. `disk`: whose it must be.
Result<Head> decode_head(ByteView object, const DiskId& disk);
Bytes encode(const RootsPage& page);
Result<RootsPage> decode_roots(ByteView object);

// What the epochs of `head` ended at, newest last: lineage, then the unsealed. The newest is the last epoch
// that ever reached `attached`; null if there was none since the disk was made.
const LogPoint* newest_attached(const Head& head);

}  // namespace ebb::disk
