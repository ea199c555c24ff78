// What the cache knows bytes by: the object that they are in, and which 64 KiB of its data. Objects are
// immutable and their names are never used again, so a name says what the bytes are - also after a restart.
#pragma once
#include <unordered_map>

#include "disk/format/checkpoint_types.h"

namespace ebb::disk {

inline constexpr std::uint64_t piece_bytes = 64 * KiB;

// 128 bits of a SHA-256 over everything that tells an object from another.
struct ObjectName {
  std::uint64_t high = 0, low = 0;
  auto operator<=>(const ObjectName&) const = default;
};
ObjectName name_of(const DataObject& object);

struct PieceKey {
  ObjectName object;
  std::uint32_t piece = 0;
  auto operator<=>(const PieceKey&) const = default;
};

struct PieceKeyHash {
  std::size_t operator()(const PieceKey& key) const {
    return key.object.low ^ ((key.object.high + key.piece) * 0x9e3779b97f4a7c15);
  }
};

// Names of objects that were asked for lately: a read should not pay for a SHA-256.
class NameTable {
 public:
  ObjectName name_of(const DataObject& object);

 private:
  struct Hash {
    std::size_t operator()(const DataObject& object) const;
  };
  std::unordered_map<DataObject, ObjectName, Hash> names_;
};

}  // namespace ebb::disk
