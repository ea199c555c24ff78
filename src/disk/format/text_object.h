// Text objects: one header line with version, checksum and length, then JSON.
#pragma once
#include <string_view>

#include "base/bytes.h"
#include "base/json.h"

namespace ebb::disk {

// `word` is the first word of the header line, as "ebb-head"; `version` is written, and the newest that is
// read.
Bytes encode_text(std::string_view word, std::string_view json, int version = 1);
Result<std::string_view> decode_text(ByteView object, std::string_view word, std::string_view what,
                                     int version = 1);

template <class T>
Bytes write_text_object(std::string_view word, const T& value, int version = 1) {
  return encode_text(word, json::to_pretty_text(json::write(value)) + "\n", version);
}
template <class T>
Result<T> read_text_object(ByteView object, std::string_view word, std::string_view what, int version = 1) {
  EBB_TRY(text, decode_text(object, word, what, version));
  auto value = json::read_text<T>(text);
  if (!value) return fail(Code::corrupt, "{}: {}", what, value.error().message);
  return value;
}

}  // namespace ebb::disk
