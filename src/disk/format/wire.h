// Binary objects: the common 32 bytes, and strict reading and writing of what follows
// (docs/internals/formats.md).
#pragma once
#include <string>
#include <string_view>
#include <type_traits>

#include "base/bytes.h"
#include "base/result.h"

namespace ebb::disk {

inline constexpr std::size_t envelope_bytes = 32;
inline constexpr std::uint32_t binary_version = 1;

constexpr std::uint64_t magic_of(const char (&text)[9]) {
  std::uint64_t value = 0;
  for (int i = 7; i >= 0; --i) value = (value << 8) | static_cast<unsigned char>(text[i]);
  return value;
}

// Reads untrusted bytes in order. The first read that does not fit makes all later ones return nothing;
// finish() tells.
class WireReader {
 public:
  explicit WireReader(ByteView from) : from_(from) {}
  template <class T>
  T number() {
    static_assert(std::is_unsigned_v<T>);
    auto view = bytes(sizeof(T));
    return view.empty() ? T{0} : load_le<T>(view);
  }
  std::string text() {
    auto length = number<std::uint16_t>();
    return std::string(as_text(bytes(length)));
  }
  ByteView bytes(std::size_t count) {
    if (!fits_ || count > from_.size()) {
      fits_ = false;
      return {};
    }
    auto view = from_.first(count);
    from_ = from_.subspan(count);
    return view;
  }
  // A count of items that take at least `item_bytes` each: one that cannot be true does not fit.
  std::size_t count(std::size_t item_bytes) {
    std::size_t n = number<std::uint32_t>();
    if (n > from_.size() / item_bytes) fits_ = false;
    return fits_ ? n : 0;
  }
  bool fits() const { return fits_; }
  std::size_t left() const { return from_.size(); }
  // Everything fitted and nothing is left over.
  Status finish(std::string_view what) const {
    if (!fits_) return fail(Code::corrupt, "{} ends too early", what);
    if (!from_.empty()) return fail(Code::corrupt, "{} has {} bytes too many", what, from_.size());
    return {};
  }

 private:
  ByteView from_;
  bool fits_ = true;
};

inline void append_text(Bytes& to, std::string_view text) {
  append_le(to, static_cast<std::uint16_t>(text.size()));
  append(to, as_bytes(text));
}

// The envelope, to be completed by finish_object when the rest has been appended.
Bytes begin_object(std::uint64_t magic);
void finish_object(Bytes& object);
// As finish_object, with what follows the envelope compressed (zstd) if that is smaller by an eighth.
void finish_packed_object(Bytes& object);
// Checks all of the envelope and returns what follows it. `object` is exactly one object.
Result<ByteView> open_object(ByteView object, std::uint64_t magic, std::string_view what);
// As open_object, for one that may be compressed; invalid above `bytes_max` when unpacked.
Result<Bytes> open_packed_object(ByteView object, std::uint64_t magic, std::size_t bytes_max,
                                 std::string_view what);
// The magic and length of an object of which only the beginning is at hand.
struct ObjectStart {
  std::uint64_t magic = 0, length = 0;
};
Result<ObjectStart> peek_object(ByteView start, std::string_view what);

}  // namespace ebb::disk
