#include "platform/s3/s3_answer.h"

#include <charconv>

namespace ebb {
namespace {

constexpr std::size_t message_bytes_max = 400;

std::string unescape(std::string_view text) {
  static constexpr std::pair<std::string_view, char> entities[] = {
      {"&amp;", '&'}, {"&lt;", '<'}, {"&gt;", '>'}, {"&quot;", '"'}, {"&apos;", '\''}};
  std::string out;
  while (!text.empty()) {
    const auto* found =
        std::ranges::find_if(entities, [&](const auto& e) { return text.starts_with(e.first); });
    if (found != std::end(entities)) {
      out += found->second;
      text.remove_prefix(found->first.size());
      continue;
    }
    // Nothing that could upset a terminal or a log.
    out += text.front() >= 0x20 && text.front() != 0x7f ? text.front() : ' ';
    text.remove_prefix(1);
  }
  return out;
}

std::string header(const CurlReply& reply, const std::string& name) {
  auto found = reply.headers.find(name);
  return found == reply.headers.end() ? "" : found->second;
}

Error error_of_404(const S3Asked& asked, const S3ErrorBody& body, const std::string& what) {
  if (body.code == "NoSuchBucket")
    return {Code::invalid, fmt::format("{}: there is no bucket '{}'", what, asked.bucket), "bucket"};
  bool is_key = body.code == "NoSuchKey";
  if (is_key && asked.verb != S3Asked::Verb::put) return {Code::not_found, what + ": no such object", {}};
  if (is_key && asked.condition == PutCondition::Kind::match)
    return {Code::conflict, what + ": the object does not exist", {}};
  // A proxy or a wrong endpoint may say 404 of anything: that is no word of the store about this object.
  return {
      Code::unavailable, what + ": status 404 without NoSuchKey: is an S3 store behind this endpoint?", {}};
}

}  // namespace

std::string xml_element(std::string_view xml, std::string_view name) {
  auto open = fmt::format("<{}>", name), close = fmt::format("</{}>", name);
  auto begin = xml.find(open);
  if (begin == std::string_view::npos) return "";
  begin += open.size();
  auto end = xml.find(close, begin);
  if (end == std::string_view::npos) return "";
  return unescape(xml.substr(begin, std::min(end - begin, message_bytes_max)));
}

S3ErrorBody read_error_body(std::string_view xml) {
  auto at = xml.find("<Error>");
  if (at == std::string_view::npos) return {};
  xml.remove_prefix(at);
  return {xml_element(xml, "Code"), xml_element(xml, "Message")};
}

Error error_of(const CurlReply& reply, const S3Asked& asked) {
  auto body = read_error_body(as_text(reply.body));
  auto what = fmt::format("{} {}", asked.verb_name(), asked.key);
  auto said = [&] {
    std::string text = fmt::format("{}: status {}", what, reply.status);
    if (!body.code.empty()) text += ", " + body.code;
    if (!body.message.empty()) text += ": " + body.message;
    return text;
  };
  auto is_one_of = [&](auto... codes) { return ((body.code == codes) || ...); };

  if (is_about_old_keys(reply)) return {Code::unavailable, said(), "credentials"};
  if (reply.status == 503 || reply.status == 429 || is_one_of("SlowDown", "ServiceUnavailable"))
    return {Code::busy, said(), {}};
  switch (reply.status) {
    case 404:
      return error_of_404(asked, body, what);
    case 412:
      if (asked.condition == PutCondition::Kind::none)  // nothing was conditional: no word about the object
        return {Code::unavailable, said(), {}};
      return {Code::conflict, what + ": the condition does not hold", {}};
    case 409:  // another conditional request is under way
    case 408:
      return {Code::unavailable, said(), {}};
    case 301:
    case 307:
    case 308: {
      auto region = unescape(header(reply, "x-amz-bucket-region").substr(0, message_bytes_max));
      auto hint = region.empty() ? "is the endpoint, or the region, another one?" : "its region is " + region;
      return {Code::invalid, fmt::format("{}: the bucket is elsewhere ({}): {}", what, said(), hint),
              "region"};
    }
    case 501:
      return {Code::invalid,
              said() + (asked.condition != PutCondition::Kind::none
                            ? " (this store knows no conditional PUT, and cannot hold a pool)"
                            : ""),
              {}};
    default:
      break;
  }
  if (is_one_of("RequestTimeout", "InternalError", "OperationAborted"))
    return {Code::unavailable, said(), {}};
  if (reply.status >= 300 && reply.status < 500) return {Code::invalid, said(), {}};
  return {Code::unavailable, said(), {}};  // 500 and its like: whether it was carried out is not known
}

namespace {
bool has_one_of(const CurlReply& reply, std::initializer_list<std::string_view> codes) {
  if (reply.status != 400 && reply.status != 403) return false;
  return std::ranges::find(codes, read_error_body(as_text(reply.body)).code) != codes.end();
}
}  // namespace

bool is_about_old_keys(const CurlReply& reply) {
  return has_one_of(reply, {"ExpiredToken", "TokenRefreshRequired"});
}

bool is_about_keys(const CurlReply& reply) {
  return is_about_old_keys(reply) ||
         has_one_of(reply, {"InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch"});
}

std::optional<Duration> retry_after(const CurlReply& reply) {
  auto text = header(reply, "retry-after");
  unsigned seconds = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return std::chrono::seconds(seconds);
}

ObjectTag tag_of(const CurlReply& reply) {
  auto text = header(reply, "etag");
  std::string_view tag(text);
  if (tag.starts_with("W/")) tag.remove_prefix(2);
  if (tag.size() >= 2 && tag.starts_with('"') && tag.ends_with('"')) tag = tag.substr(1, tag.size() - 2);
  return {std::string(tag)};
}

}  // namespace ebb
