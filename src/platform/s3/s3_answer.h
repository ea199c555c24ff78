// What a store's answer means to a caller of ObjectStore. Pure.
#pragma once
#include <optional>
#include <string>

#include "env/object_store.h"
#include "platform/s3/curl_transport.h"

namespace ebb {

// The error body of S3: <Error><Code>..</Code><Message>..</Message></Error>. Empty where there is none.
struct S3ErrorBody {
  std::string code, message;
  bool operator==(const S3ErrorBody&) const = default;
};
S3ErrorBody read_error_body(std::string_view xml);

// The text of the first element of that name, fit for a log; empty if there is none.
std::string xml_element(std::string_view xml, std::string_view name);

// What was asked, as far as the meaning of an answer depends on it.
struct S3Asked {
  enum class Verb { get, put, remove } verb = Verb::get;
  std::string_view verb_name() const {
    return verb == Verb::get ? "get" : verb == Verb::put ? "put" : "remove";
  }
  PutCondition::Kind condition = PutCondition::Kind::none;
  std::string bucket, key;
};

// The error that an answer other than success stands for.
Error error_of(const CurlReply& reply, const S3Asked& asked);

// The keys have ended: new ones help.
bool is_about_old_keys(const CurlReply& reply);
// Or they are unknown or wrong: others may help, once somebody has mended where they come from.
bool is_about_keys(const CurlReply& reply);

// The header Retry-After, in seconds; a date is not looked at.
std::optional<Duration> retry_after(const CurlReply& reply);

// The tag without quotes and without the mark of a weak one; empty if there is none.
ObjectTag tag_of(const CurlReply& reply);

}  // namespace ebb
