#include "s3_reply.h"

#include <time.h>

#include "base/text.h"

namespace ebb::s3test {
namespace {

constexpr std::string_view xml_head = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

std::string_view reason_of(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 204:
      return "No Content";
    case 206:
      return "Partial Content";
    case 304:
      return "Not Modified";
    case 400:
      return "Bad Request";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 409:
      return "Conflict";
    case 411:
      return "Length Required";
    case 412:
      return "Precondition Failed";
    case 416:
      return "Range Not Satisfiable";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 503:
      return "Slow Down";
    default:
      return "Status";
  }
}

std::string xml_escape(std::string_view text) {
  std::string out;
  for (char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\r':
        out += "&#13;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string element(std::string_view name, std::string_view text) {
  return fmt::format("<{0}>{1}</{0}>", name, xml_escape(text));
}

std::string iso_time(WallMs ms) {
  auto seconds = static_cast<time_t>(ms / 1000);
  tm parts{};
  gmtime_r(&seconds, &parts);
  char text[32];
  return {text, strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S.000Z", &parts)};
}

}  // namespace

std::string http_time(WallMs ms) {
  auto seconds = static_cast<time_t>(ms / 1000);
  tm parts{};
  gmtime_r(&seconds, &parts);
  char text[40];
  return {text, strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &parts)};
}

Reply text_reply(int status, std::string type, std::string_view text) {
  Reply reply;
  reply.status = status;
  reply.headers.emplace_back("Content-Type", std::move(type));
  reply.body = std::make_shared<const Bytes>(to_bytes(text));
  reply.length = text.size();
  return reply;
}

Reply refusal_reply(const Refusal& refusal, const Request& request) {
  std::string text(xml_head);
  text += "<Error>" + element("Code", refusal.code) + element("Message", refusal.message);
  if (!request.key.empty()) text += element("Key", request.key);
  if (!request.bucket.empty()) text += element("BucketName", request.bucket);
  text += element("Resource", request.path) + "</Error>";
  return text_reply(refusal.status, "application/xml", text);
}

Reply listing_reply(const std::string& bucket, const ListRequest& request, const Listing& listing,
                    const std::map<std::string, std::string>& query) {
  auto encoding = query.find("encoding-type");
  bool is_encoded = encoding != query.end() && encoding->second == "url";
  auto shown = [&](const std::string& text) { return is_encoded ? percent_encode(text, "/") : text; };
  std::string text(xml_head);
  text += "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">" + element("Name", bucket);
  text += element("Prefix", shown(request.prefix));
  if (!request.delimiter.empty()) text += element("Delimiter", shown(request.delimiter));
  if (is_encoded) text += element("EncodingType", "url");
  text += element("MaxKeys", std::to_string(request.max_keys));
  text += element("KeyCount", std::to_string(listing.entries.size()));
  text += element("IsTruncated", listing.is_truncated ? "true" : "false");
  if (auto token = query.find("continuation-token"); token != query.end())
    text += element("ContinuationToken", token->second);
  if (listing.is_truncated) text += element("NextContinuationToken", token_of(listing.entries.back().name));
  for (const auto& [name, version] : listing.entries) {
    if (!version) {
      text += "<CommonPrefixes>" + element("Prefix", shown(name)) + "</CommonPrefixes>";
    } else {
      text += "<Contents>" + element("Key", shown(name)) +
              element("LastModified", iso_time(version->modified)) +
              element("ETag", "\"" + version->etag + "\"") + element("Size", std::to_string(version->size)) +
              element("StorageClass", "STANDARD") + "</Contents>";
    }
  }
  return text_reply(200, "application/xml", text + "</ListBucketResult>");
}

std::string reply_head(const Reply& reply, WallMs now, std::uint64_t request_number) {
  auto text =
      fmt::format("HTTP/1.1 {} {}\r\nServer: ebb-test-s3\r\nDate: {}\r\nx-amz-request-id: {:016X}\r\n",
                  reply.status, reason_of(reply.status), http_time(now), request_number);
  for (const auto& [name, value] : reply.headers) text += fmt::format("{}: {}\r\n", name, value);
  if (reply.status != 204 && reply.status != 304) text += fmt::format("Content-Length: {}\r\n", reply.length);
  if (reply.closes_connection) text += "Connection: close\r\n";
  return text + "\r\n";
}

std::string token_of(std::string_view name) { return to_hex(name); }

std::optional<std::string> name_of_token(std::string_view token) {
  if (!is_hex(token) || token.size() % 2 != 0) return std::nullopt;
  std::string name;
  for (std::size_t i = 0; i < token.size(); i += 2)
    name += static_cast<char>(std::stoi(std::string(token.substr(i, 2)), nullptr, 16));
  return name;
}

}  // namespace ebb::s3test
