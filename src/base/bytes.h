// Raw bytes, and little-endian numbers in them.
#pragma once
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

namespace ebb {

using Bytes = std::vector<std::byte>;
using ByteView = std::span<const std::byte>;
using MutableBytes = std::span<std::byte>;

inline constexpr std::uint64_t KiB = 1024, MiB = 1024 * KiB, GiB = 1024 * MiB;

inline ByteView as_bytes(std::string_view text) { return std::as_bytes(std::span(text.data(), text.size())); }
inline std::string_view as_text(ByteView bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
inline Bytes to_bytes(std::string_view text) {
  auto view = as_bytes(text);
  return Bytes(view.begin(), view.end());
}

static_assert(std::endian::native == std::endian::little, "formats are little-endian and copied as they are");

// Reads a T at `offset`; the caller has checked the length.
template <class T>
T load_le(ByteView from, std::size_t offset = 0) {
  T value;
  std::memcpy(&value, from.data() + offset, sizeof(T));
  return value;
}
template <class T>
void store_le(MutableBytes to, std::size_t offset, T value) {
  std::memcpy(to.data() + offset, &value, sizeof(T));
}
template <class T>
void append_le(Bytes& to, T value) {
  auto at = to.size();
  to.resize(at + sizeof(T));
  std::memcpy(to.data() + at, &value, sizeof(T));
}
inline void append(Bytes& to, ByteView more) { to.insert(to.end(), more.begin(), more.end()); }

inline bool is_all_zero(ByteView bytes) {
  return bytes.empty() ||
         (bytes[0] == std::byte{0} && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

}  // namespace ebb
