#include "sigv4_check.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <time.h>

#include "base/check.h"
#include "base/text.h"

namespace ebb::s3test {
namespace {

constexpr std::string_view algorithm = "AWS4-HMAC-SHA256", unsigned_payload = "UNSIGNED-PAYLOAD";
constexpr std::int64_t skew_max_ms = 15 * 60 * 1000;

std::unexpected<Refusal> refuse(int status, std::string code, std::string message) {
  return std::unexpected(Refusal{status, std::move(code), std::move(message)});
}
std::unexpected<Refusal> malformed(std::string why) {
  return refuse(400, "AuthorizationHeaderMalformed", "The authorization header is malformed; " + why);
}

std::string hmac(std::string_view key, std::string_view text) {
  unsigned char out[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  CHECK(HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
             reinterpret_cast<const unsigned char*>(text.data()), text.size(), out, &length));
  return {reinterpret_cast<const char*>(out), length};
}

std::string digest(const EVP_MD* kind, ByteView bytes) {
  unsigned char out[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  CHECK(EVP_Digest(bytes.data(), bytes.size(), out, &length, kind, nullptr) == 1);
  return {reinterpret_cast<const char*>(out), length};
}

struct Authorization {
  std::string access_key, date, region, service, terminator;
  std::vector<std::string> signed_headers;
  std::string signed_headers_text, signature;
};

// "AWS4-HMAC-SHA256 Credential=KEY/DATE/REGION/s3/aws4_request, SignedHeaders=a;b, Signature=HEX"
Answer<Authorization> parse_authorization(std::string_view text) {
  if (!text.starts_with(algorithm)) return refuse(400, "InvalidRequest", "Please use AWS4-HMAC-SHA256.");
  text.remove_prefix(algorithm.size());
  std::map<std::string, std::string> parts;
  for (auto part : split(text, ',')) {
    while (part.starts_with(' ')) part.remove_prefix(1);
    auto equals = part.find('=');
    if (equals == part.npos) return malformed("a part of it has no value.");
    parts.emplace(part.substr(0, equals), part.substr(equals + 1));
  }
  Authorization out;
  auto credential = split(parts["Credential"], '/');
  if (credential.size() != 5) return malformed("the Credential is mal-formed.");
  out.access_key = credential[0], out.date = credential[1], out.region = credential[2];
  out.service = credential[3], out.terminator = credential[4];
  out.signed_headers_text = parts["SignedHeaders"];
  for (auto name : split(out.signed_headers_text, ';')) out.signed_headers.emplace_back(name);
  out.signature = parts["Signature"];
  if (out.signature.size() != 64 || !is_hex(out.signature)) return malformed("the Signature is no SHA-256.");
  return out;
}

// "20261123T161446Z"
std::optional<std::int64_t> parse_amz_date(const std::string& text) {
  tm parts{};
  const char* end = strptime(text.c_str(), "%Y%m%dT%H%M%SZ", &parts);
  if (!end || *end || text.size() != 16) return std::nullopt;
  return static_cast<std::int64_t>(timegm(&parts)) * 1000;
}

// Without spaces around it, and with one in place of several.
std::string squeeze(std::string_view value) {
  std::string out;
  for (char c : value) {
    if (c == '\t') c = ' ';
    if (c != ' ' || (!out.empty() && out.back() != ' ')) out += c;
  }
  if (out.ends_with(' ')) out.pop_back();
  return out;
}

std::string canonical_query(const Request& request) {
  std::vector<std::pair<std::string, std::string>> pairs;
  for (const auto& [name, value] : request.query)
    pairs.emplace_back(percent_encode(name, ""), percent_encode(value, ""));
  std::sort(pairs.begin(), pairs.end());
  std::string out;
  for (const auto& [name, value] : pairs) out += (out.empty() ? "" : "&") + name + "=" + value;
  return out;
}

std::string canonical_request(const Request& request, const Authorization& authorization,
                              const std::string& payload) {
  std::string headers;
  for (const auto& name : authorization.signed_headers) {
    std::string values;
    auto [begin, end] = request.headers.equal_range(name);
    for (auto at = begin; at != end; ++at) values += (at == begin ? "" : ",") + squeeze(at->second);
    headers += name + ":" + values + "\n";
  }
  return fmt::format("{}\n{}\n{}\n{}\n{}\n{}", request.method, percent_encode(request.path, "/"),
                     canonical_query(request), headers, authorization.signed_headers_text, payload);
}

// What a server insists on seeing signed, so that nobody on the way can change what a request means.
Answer<void> check_signed_headers(const Request& request, const Authorization& authorization) {
  const auto& names = authorization.signed_headers;
  auto is_signed = [&](const std::string& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  if (!is_signed("host")) return malformed("the Host header must be signed.");
  for (const auto& [name, value] : request.headers) {
    if (name.starts_with("x-amz-") && !is_signed(name))
      return refuse(403, "AccessDenied",
                    "There were headers present in the request which were not signed: " + name);
  }
  return {};
}

}  // namespace

Answer<const KnownKey*> check_signature(const Request& request, const std::vector<KnownKey>& keys,
                                        WallMs now) {
  auto* header = request.header("authorization");
  if (!header) return refuse(403, "AccessDenied", "Access Denied");
  auto authorization = parse_authorization(*header);
  if (!authorization) return std::unexpected(authorization.error());
  auto found = std::ranges::find(keys, authorization->access_key, &KnownKey::access_key);
  if (found == keys.end())
    return refuse(403, "InvalidAccessKeyId",
                  "The AWS Access Key Id you provided does not exist in our records.");
  const auto& key = *found;
  if (authorization->region != key.region)
    return malformed(
        fmt::format("the region '{}' is wrong; expecting '{}'", authorization->region, key.region));
  if (authorization->service != "s3" || authorization->terminator != "aws4_request")
    return malformed("the Credential should end with s3/aws4_request.");

  auto* date = request.header("x-amz-date");
  auto at = date ? parse_amz_date(*date) : std::nullopt;
  if (!at) return refuse(403, "AccessDenied", "AWS authentication requires a valid x-amz-date header");
  if (!date->starts_with(authorization->date))
    return malformed("the date of the Credential is not that of x-amz-date.");
  if (std::abs(now - *at) > skew_max_ms)
    return refuse(403, "RequestTimeTooSkewed",
                  "The difference between the request time and the current time is too large.");
  auto* payload = request.header("x-amz-content-sha256");
  if (!payload)
    return refuse(400, "InvalidRequest", "Missing required header for this request: x-amz-content-sha256");
  if (payload->starts_with("STREAMING-"))
    return refuse(501, "NotImplemented", "Bodies that are signed piece by piece are not implemented.");
  if (auto complete = check_signed_headers(request, *authorization); !complete)
    return std::unexpected(complete.error());

  auto scope = fmt::format("{}/{}/s3/aws4_request", authorization->date, key.region);
  auto text = fmt::format(
      "{}\n{}\n{}\n{}", algorithm, *date, scope,
      to_hex(digest(EVP_sha256(), as_bytes(canonical_request(request, *authorization, *payload)))));
  auto signing_key =
      hmac(hmac(hmac(hmac("AWS4" + key.secret_key, authorization->date), key.region), "s3"), "aws4_request");
  auto expected = to_hex(hmac(signing_key, text));
  if (CRYPTO_memcmp(expected.data(), authorization->signature.data(), expected.size()) != 0)
    return refuse(
        403, "SignatureDoesNotMatch",
        "The request signature we calculated does not match the signature you provided. Check your key and "
        "signing method.");
  return &key;
}

Digests digest_body(ByteView body, const std::string& promised_sha256) {
  Digests out;
  out.md5 = to_hex(digest(EVP_md5(), body));
  if (promised_sha256 != unsigned_payload) out.sha256 = to_hex(digest(EVP_sha256(), body));
  return out;
}

Answer<void> check_payload(const Request& request, const Digests& digests) {
  auto* promised = request.header("x-amz-content-sha256");
  if (promised && *promised != unsigned_payload && *promised != digests.sha256)
    return refuse(400, "XAmzContentSHA256Mismatch",
                  "The provided 'x-amz-content-sha256' header does not match what was computed.");
  if (auto* md5 = request.header("content-md5")) {
    unsigned char decoded[64];
    auto text = reinterpret_cast<const unsigned char*>(md5->data());
    bool fits = md5->size() == 24;
    int length = fits ? EVP_DecodeBlock(decoded, text, 24) : -1;
    if (length < 16 || to_hex({reinterpret_cast<const char*>(decoded), 16}) != digests.md5)
      return refuse(400, "BadDigest", "The Content-MD5 you specified did not match what we received.");
  }
  return {};
}

}  // namespace ebb::s3test
