// Replies of our S3 test server: heads, XML errors and listings.
#pragma once
#include "s3_objects.h"
#include "s3_request.h"

namespace ebb::s3test {

struct Reply {
  int status = 200;
  std::vector<std::pair<std::string, std::string>> headers;
  SharedBytes body;                      // shared with the object: never copied
  std::uint64_t offset = 0, length = 0;  // the part of it that is sent; HEAD announces it only
  bool closes_connection = false;
};

Reply text_reply(int status, std::string type, std::string_view text);
Reply refusal_reply(const Refusal& refusal, const Request& request);
Reply listing_reply(const std::string& bucket, const ListRequest& request, const Listing& listing,
                    const std::map<std::string, std::string>& query);

// The status line and the headers, with the empty line.
std::string reply_head(const Reply& reply, WallMs now, std::uint64_t request_number);
// "Mon, 23 Nov 2026 16:14:46 GMT"
std::string http_time(WallMs ms);

// Continuation tokens are opaque to clients.
std::string token_of(std::string_view name);
std::optional<std::string> name_of_token(std::string_view token);

}  // namespace ebb::s3test
