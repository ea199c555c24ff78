// Text objects: one header line with version, checksum and length, then JSON.
#pragma once
#include <string_view>

#include "base/bytes.h"
#include "base/json.h"

namespace ebb::disk {

// `word` is the first word of the header line, as "ebb-head".
Bytes encode_text(std::string_view word, std::string_view json);
Result<std::string_view> decode_text(ByteView object, std::string_view word, std::string_view what);

template <class T>
Bytes write_text_object(std::string_view word, const T& value) {
  return encode_text(word, json::to_pretty_text(json::write(value)) + "\n");
}
template <class T>
Result<T> read_text_object(ByteView object, std::string_view word, std::string_view what) {
  EBB_TRY(text, decode_text(object, word, what));
  auto value = json::read_text<T>(text);
  if (!value) return fail(Code::corrupt, "{}: {}", what, value.error().message);
  return value;
}

}  // namespace ebb::disk
