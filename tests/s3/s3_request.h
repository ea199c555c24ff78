// A request as our S3 test server sees it: the parsed head, what it names, and the refusals that S3 knows.
#pragma once
#include <expected>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "env/object_store.h"

namespace ebb::s3test {

// A refusal as S3 words it.
struct Refusal {
  int status = 400;
  std::string code;  // "NoSuchKey"
  std::string message;
};
template <class T>
using Answer = std::expected<T, Refusal>;

struct Request {
  std::string method;
  std::string target;                               // as it came
  std::multimap<std::string, std::string> headers;  // names in lower case
  std::map<std::string, std::string> query;         // decoded
  std::string path;                                 // decoded, begins with '/'
  std::string bucket, key;                          // by path or by host
  std::size_t content_length = 0;
  bool keep_alive = true;
  bool wants_continue = false;
  SharedBytes body;

  // nullptr if there is none.
  const std::string* header(const std::string& name) const;
  bool is_control() const { return path.starts_with("/-/"); }
};

// Parses the head of a request from the front of `buffer` and erases it there; nullopt when more is needed.
// `domain`: requests to BUCKET.domain are host-style.
Answer<std::optional<Request>> parse_head(std::string& buffer, std::string_view domain);

// Percent-encoding as Signature Version 4 wants it; `kept` are characters left alone besides A-Z a-z 0-9 - .
// _ ~
std::string percent_encode(std::string_view text, std::string_view kept);

struct ByteRange {
  std::uint64_t offset = 0, length = 0;
};
// The part of an object of `size` bytes that "bytes=..." names; nullopt: several ranges or another unit,
// which HTTP lets a server ignore.
Answer<std::optional<ByteRange>> parse_range(std::string_view header, std::uint64_t size);

}  // namespace ebb::s3test
