// The data of an object in the store, by its blocks, however it is stored.
#pragma once
#include <unordered_map>

#include "disk/format/checkpoint_types.h"
#include "disk/format/packed_data.h"
#include "disk/store_access.h"

namespace ebb::disk {

// Tables of frames that were read lately, a few MiB at most, each fetched once however many wait. Objects are immutable.
class FrameTables {
 public:
  // Null: it is damaged.
  Task<Result<std::shared_ptr<const FrameTable>>> get(StoreAccess access, DataObject object);

 private:
  struct Entry {
    explicit Entry(Loop& loop) : lock(loop) {}
    AsyncMutex lock;  // held while it is fetched
    std::shared_ptr<const FrameTable> table;
  };
  std::unordered_map<std::string, std::shared_ptr<Entry>> entries_;
};

// `length` bytes of the object's data from `offset` on, fewer at its end. What is damaged may be any bytes: whoever asks has the
// checksums. `tables`: null, or kept for the next time.
Task<Result<Bytes>> read_object_data(StoreAccess access, DataObject object, std::uint64_t offset,
                                     std::size_t length, FrameTables* tables);

// The same from the whole object, as it was read. `data_bytes`: as its head has it.
Bytes data_of_object(ByteView whole, std::size_t data_offset, bool is_packed, std::size_t data_bytes);

// `head` with its data behind it, packed, made where that keeps nobody waiting.
Task<SharedBytes> pack_object(StoreAccess access, SharedBytes plain, std::size_t data_offset);

}  // namespace ebb::disk
