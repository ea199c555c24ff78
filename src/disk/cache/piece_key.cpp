#include "disk/cache/piece_key.h"

#include <charconv>

#include "disk/format/hash.h"
#include "disk/format/wire.h"
#include "disk/keys.h"

namespace ebb::disk {
namespace {

std::uint64_t from_hex(std::string_view digits) {
  std::uint64_t value = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
  return value;
}

}  // namespace

ObjectName name_of(const DataObject& object) {
  // Another member of DataObject does not compile here: whatever tells objects apart belongs into the name.
  const auto& [disk, epoch, seq, data_offset, kind, is_packed] = object;
  Bytes text;
  append_text(text, disk.str());
  append_le<std::uint64_t>(text, epoch.placement);
  append_le<std::uint64_t>(text, epoch.incarnation);
  append_le<std::uint64_t>(text, seq);
  append_le<std::uint32_t>(text, data_offset);
  append_le<std::uint32_t>(text, static_cast<std::uint32_t>(kind));
  (void)is_packed;  // its data is the same bytes
  auto hex = sha256_hex(text);
  return {from_hex(std::string_view(hex).substr(0, 16)), from_hex(std::string_view(hex).substr(16, 16))};
}

std::size_t NameTable::Hash::operator()(const DataObject& object) const {
  auto hash = std::hash<std::string_view>{}(object.disk.str());
  for (std::uint64_t part : {std::uint64_t{object.epoch.placement}, std::uint64_t{object.epoch.incarnation},
                             object.seq, std::uint64_t{object.kind == ObjectKind::cleaned}})
    hash = (hash ^ part) * 0x9e3779b97f4a7c15;
  return hash ^ (hash >> 32);
}

ObjectName NameTable::name_of(const DataObject& object) {
  constexpr std::size_t names_max = 8192;
  if (auto it = names_.find(object); it != names_.end()) return it->second;
  if (names_.size() >= names_max) names_.clear();
  return names_[object] = disk::name_of(object);
}

}  // namespace ebb::disk
