// What all objects of a disk say about its blocks: each is read whole, and of what is said about a block the
// newest counts. Needs no map; about 40 bytes of memory for each extent ever written that is still stored.
#pragma once
#include <map>
#include <unordered_map>
#include <unordered_set>

#include "disk/attach/load_map.h"

namespace ebb::disk {

struct BadExtent {
  std::uint64_t block = 0, count = 0;  // of the disk, in blocks of 4096 bytes
  std::string what;                    // which object, where in it, and what is wrong
  bool operator==(const BadExtent&) const = default;
};
BOOST_DESCRIBE_STRUCT(BadExtent, (), (block, count, what))
inline constexpr std::size_t bad_extents_max = 1000;

// Bad extents in the order of their blocks, neighbours with one fault joined.
class BadExtents {
 public:
  void add(std::uint64_t block, std::string what);
  const std::vector<BadExtent>& first() const { return bad_; }  // `bad_extents_max` of them
  std::uint64_t count() const { return count_; }

 private:
  std::vector<BadExtent> bad_;
  std::uint64_t count_ = 0;
};

// An object that holds data or trims of the disk, and what is known from its own head.
struct ReadObject {
  DataObject object;
  BlockMap::ObjectSize size;
  std::vector<std::uint32_t> crcs;  // of its data blocks
};

class ObjectClaims {
 public:
  struct Claim {  // what one object says about some blocks
    std::uint64_t write_seq = 0, block = 0;
    std::uint32_t count = 0, object = 0, data_block = 0;  // object: an index into objects()
    ExtentKind kind = ExtentKind::data;
    std::uint32_t data_block_of(std::uint64_t b) const {
      return data_block + static_cast<std::uint32_t>(b - block);
    }
  };

  explicit ObjectClaims(StoreAccess access) : access_(access) {}

  // Reads the objects that `root` names (null: none) and the segments that follow it on `followed`'s lineage.
  // What cannot be read is in lost() and damaged(). corrupt: an object names blocks beyond the disk's end.
  Task<Status> gather(const CheckpointRoot* root, Head followed);
  // The objects that only a named root holds, read as well: for what they are, not for what they say about
  // the disk of now.
  Task<Status> read_also(const CheckpointRoot& root);

  // The root's objects first, in its order; then the segments, in theirs.
  const std::vector<ReadObject>& objects() const { return objects_; }
  std::uint64_t data_bytes() const { return data_bytes_; }
  // By index: cannot be read, and why.
  const std::map<std::uint32_t, std::string>& lost() const { return lost_; }
  bool is_something_gone() const { return is_something_gone_; }
  // Its place in objects(), if it is one of them.
  std::optional<std::uint32_t> index_of(const DataObject& object) const;
  bool is_damaged(std::uint32_t object, std::uint32_t data_block) const {
    return damaged_.contains((std::uint64_t{object} << 32) | data_block);
  }

  const Claim& claim(std::uint32_t number) const { return claims_[number - 1]; }
  // For each block of the range the number of the newest claim; 0: there is none.
  std::vector<std::uint32_t> newest(std::uint64_t begin, std::uint64_t length) const;

 private:
  enum class Says { counts, is_left_out };  // what an object says about the disk's blocks
  void add(const DataObject& object);
  // `chain`: of the segment before, which this one must follow; null: whatever it follows.
  Task<Status> read_object(std::uint32_t index, std::uint64_t disk_blocks, std::string* chain,
                           Says says = Says::counts);

  StoreAccess access_;
  std::vector<ReadObject> objects_;
  std::unordered_map<std::string, std::uint32_t> index_;  // by the object's key
  std::map<std::uint32_t, std::string> lost_;
  bool is_something_gone_ = false;
  std::unordered_set<std::uint64_t> damaged_;  // object << 32 | block of its data
  std::vector<Claim> claims_;                  // oldest first
  std::uint64_t data_bytes_ = 0;
};

}  // namespace ebb::disk
