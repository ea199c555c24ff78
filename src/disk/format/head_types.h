// HEAD, the only mutable object of a disk, and the page of named roots that it points to.
#pragma once
#include <functional>
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
  std::uint64_t owed = 0;  // things in it that reclaim has to look at
  bool operator==(const RootsRef&) const = default;
};
BOOST_DESCRIBE_STRUCT(RootsRef, (), (nonce, bytes, crc32c, owed))

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
//
// A restore is an opener whose detach leaves another checkpoint and lineage than it found.
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
  std::optional<CheckpointId>
      reclaimed;  // what was condemned up to this checkpoint is gone, or held by a named root
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
  std::string request;    // of whoever asked for it: the same one, asked again, finds it made
  WallMs created_at = 0;  // 0: before version 2
  std::string owner;      // in HEAD at that time
  bool operator==(const NamedRoot&) const = default;
};
BOOST_DESCRIBE_STRUCT(NamedRoot, (), (name, size_bytes, checkpoint, request, created_at, owner))

// A disk that shares this one's objects.
struct ForkPin {
  DiskId disk;
  std::string root;
  bool operator==(const ForkPin&) const = default;
};
BOOST_DESCRIBE_STRUCT(ForkPin, (), (disk, root))

// The disk went back to `root`; what it was until then is kept as the root `kept_as`.
struct RestoreRecord {
  std::string root, kept_as;
  std::string request;
  WallMs at = 0;
  DiskEpoch epoch;    // that of the restore itself
  LogPoint from, to;  // where the log ended, and where it goes on
  bool operator==(const RestoreRecord&) const = default;
};
BOOST_DESCRIBE_STRUCT(RestoreRecord, (), (root, kept_as, request, at, epoch, from, to))

struct RootsPage {
  std::vector<NamedRoot> roots;
  std::vector<ForkPin> forks;
  std::vector<RestoreRecord> restores;  // the last ones
  std::vector<CheckpointRef> dropped;   // of roots that were removed: what only they held is to be reclaimed
  std::vector<std::string>
      removed;  // requests of the last roots that were removed: one that comes late makes none
  std::vector<std::string> replaced;  // nonces of the pages before this one, oldest first
  bool operator==(const RootsPage&) const = default;
  const NamedRoot* find(std::string_view name) const;
  // The checkpoints of the roots go into `dropped`.
  void drop(const std::function<bool(const NamedRoot&)>& which);
  std::uint64_t owed() const;
  static constexpr std::size_t replaced_kept =
      8;  // somebody may have read the HEAD that named it, a moment ago
};
BOOST_DESCRIBE_STRUCT(RootsPage, (), (roots, forks, restores, dropped, removed, replaced))

Bytes encode(const Head& head);
// corrupt, or invalid if it is of a newer version. `disk`: whose it must be.
Result<Head> decode_head(ByteView object, const DiskId& disk);
Bytes encode(const RootsPage& page);
Result<RootsPage> decode_roots(ByteView object);

// What the epochs of `head` ended at, newest last: lineage, then the unsealed. The newest is the last epoch
// that ever reached `attached`; null if there was none since the disk was made.
const LogPoint* newest_attached(const Head& head);

}  // namespace ebb::disk
