#include "platform/s3/s3_signer.h"

#include <ctime>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/check.h"
#include "base/text.h"

namespace ebb {
namespace {

constexpr std::string_view algorithm = "AWS4-HMAC-SHA256";

std::string hmac(std::string_view key, std::string_view text) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  CHECK(HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
             reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest, &length) != nullptr);
  return {reinterpret_cast<const char*>(digest), length};
}

// Without spaces at its ends, and one for several within.
std::string canonical_value(std::string_view value) {
  std::string out;
  for (char c : value) {
    if (c != ' ' && c != '\t')
      out += c;
    else if (!out.empty() && out.back() != ' ')
      out += ' ';
  }
  if (out.ends_with(' ')) out.pop_back();
  return out;
}

}  // namespace

std::string amz_date(WallMs now) {
  std::time_t seconds = now / 1000;
  std::tm parts{};
  CHECK(gmtime_r(&seconds, &parts) != nullptr);
  char text[24];
  CHECK(std::strftime(text, sizeof text, "%Y%m%dT%H%M%SZ", &parts) == 16);
  return text;
}

std::string payload_hash(ByteView body) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  CHECK(EVP_Digest(body.data(), body.size(), digest, &length, EVP_sha256(), nullptr) == 1);
  return to_hex({reinterpret_cast<const char*>(digest), length});
}

const std::string& S3Signer::key_of(const S3Keys& keys, const std::string& day) {
  if (day != day_ || keys.secret_key != secret_ || key_.empty()) {
    day_ = day, secret_ = keys.secret_key;
    key_ = hmac(hmac(hmac(hmac("AWS4" + secret_, day), region_), service_), "aws4_request");
  }
  return key_;
}

std::string S3Signer::authorization(RequestToSign request, const S3Keys& keys, WallMs now) {
  std::ranges::sort(request.headers);
  std::string names;
  auto canonical = fmt::format("{}\n{}\n{}\n", request.method, request.path, request.query);
  for (const auto& [name, value] : request.headers) {
    canonical += fmt::format("{}:{}\n", name, canonical_value(value));
    names += (names.empty() ? "" : ";") + name;
  }
  canonical += fmt::format("\n{}\n{}", names, request.payload_hash);

  auto date = amz_date(now);
  auto day = date.substr(0, 8);
  auto scope = fmt::format("{}/{}/{}/aws4_request", day, region_, service_);
  auto to_sign = fmt::format("{}\n{}\n{}\n{}", algorithm, date, scope, payload_hash(as_bytes(canonical)));
  return fmt::format("{} Credential={}/{}, SignedHeaders={}, Signature={}", algorithm, keys.access_key, scope,
                     names, to_hex(hmac(key_of(keys, day), to_sign)));
}

}  // namespace ebb
