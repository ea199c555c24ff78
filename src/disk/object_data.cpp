#include "disk/object_data.h"

#include "disk/keys.h"

namespace ebb::disk {
namespace {

Task<Result<std::shared_ptr<const FrameTable>>> fetch_table(StoreAccess access, DataObject object) {
  EBB_CO_TRY(block,
             co_await access.get_range(data_object_key(object), object.data_offset, frame_table_bytes));
  auto table = decode_frame_table(block);
  if (!table) co_return std::shared_ptr<const FrameTable>();
  co_return std::make_shared<const FrameTable>(std::move(*table));
}

}  // namespace

Task<Result<std::shared_ptr<const FrameTable>>> FrameTables::get(StoreAccess access, DataObject object) {
  constexpr std::size_t tables_max = 1024;
  if (entries_.size() >= tables_max) entries_.clear();
  auto& slot = entries_[data_object_key(object)];
  if (!slot) slot = std::make_shared<Entry>(*access.loop);
  auto entry = slot;
  auto turn = co_await entry->lock.lock();
  if (!entry->table) {
    EBB_CO_TRY(table, co_await fetch_table(access, object));
    entry->table = std::move(table);
  }
  co_return entry->table;
}

Task<Result<Bytes>> read_object_data(StoreAccess access, DataObject object, std::uint64_t offset,
                                     std::size_t length, FrameTables* tables) {
  const auto key = data_object_key(object);
  if (!object.is_packed) co_return co_await access.get_range(key, object.data_offset + offset, length);
  auto known = tables ? co_await tables->get(access, object) : co_await fetch_table(access, object);
  EBB_CO_TRY(table, std::move(known));
  if (!table) co_return Bytes(length);
  const auto end = std::min<std::uint64_t>(offset + length, table->data_bytes);
  if (offset >= end) co_return Bytes();
  const auto first = offset / frame_bytes, last = (end + frame_bytes - 1) / frame_bytes;
  EBB_CO_TRY(stored,
             co_await access.get_range(key, object.data_offset + frame_table_bytes + table->begins[first],
                                       table->begins[last] - table->begins[first]));
  auto data = unpack(*table, first, last, stored);
  data.resize(end - first * frame_bytes);
  data.erase(data.begin(), data.begin() + static_cast<std::ptrdiff_t>(offset - first * frame_bytes));
  co_return data;
}

Bytes data_of_object(ByteView whole, std::size_t data_offset, bool is_packed, std::size_t data_bytes) {
  auto rest = whole.subspan(std::min(whole.size(), data_offset));
  if (is_packed) return unpack_all(rest, data_bytes);
  return {rest.begin(), rest.end()};
}

Task<SharedBytes> pack_object(StoreAccess access, SharedBytes plain, std::size_t data_offset) {
  auto work = [plain, data_offset]() -> SharedBytes {
    auto out = Bytes(plain->begin(), plain->begin() + static_cast<std::ptrdiff_t>(data_offset));
    append(out, pack(ByteView(*plain).subspan(data_offset)));
    return std::make_shared<const Bytes>(std::move(out));
  };
  if (!access.threads) co_return work();
  co_return co_await offload<SharedBytes>(*access.loop, *access.threads, work);
}

}  // namespace ebb::disk
