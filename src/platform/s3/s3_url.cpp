#include "platform/s3/s3_url.h"

#include <charconv>

#include "base/text.h"

namespace ebb {
namespace {

constexpr std::string_view scheme_prefix = "s3://";

bool is_lower_or_digit(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

std::optional<int> hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return std::nullopt;
}

Result<std::string> decode(std::string_view name, std::string_view value) {
  std::string out;
  for (std::size_t i = 0; i < value.size(); ++i) {
    if (value[i] != '%') {
      out += value[i];
      continue;
    }
    auto high = i + 2 < value.size() ? hex_digit(value[i + 1]) : std::nullopt;
    auto low = i + 2 < value.size() ? hex_digit(value[i + 2]) : std::nullopt;
    if (!high || !low)
      return fail_field(std::string(name), "{}: '{}' holds a '%' that two hex digits do not follow", name,
                        value);
    out += static_cast<char>(*high * 16 + *low);
    i += 2;
  }
  return out;
}

// https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html, less the rules about reserved
// words.
Status check_bucket(std::string_view bucket) {
  bool is_good = bucket.size() >= 3 && bucket.size() <= 63 && is_lower_or_digit(bucket.front()) &&
                 is_lower_or_digit(bucket.back()) && !bucket.contains("..");
  for (char c : bucket) is_good = is_good && (is_lower_or_digit(c) || c == '-' || c == '.');
  if (is_good) return {};
  return fail_field(
      "bucket", "'{}' is no name of a bucket: 3 to 63 of a-z, 0-9, '-' and '.', as in s3://my-bucket/prefix",
      bucket);
}

Status check_prefix(std::string_view prefix) {
  if (prefix.empty()) return {};
  if (prefix.size() > 256) return fail_field("prefix", "the prefix is longer than 256 characters");
  for (char c : prefix) {
    if (c <= 0x20 || c > 0x7e)
      return fail_field("prefix", "the prefix '{}' may hold only printable ASCII", prefix);
  }
  for (auto part : split(prefix, '/')) {
    if (part.empty() || part == "." || part == "..")
      return fail_field("prefix", "the prefix '{}' has a part '{}', which is not allowed", prefix, part);
  }
  return {};
}

Status read_endpoint(S3Url& url, std::string_view value) {
  auto wrong = [&](std::string_view why) {
    return fail_field("endpoint", "endpoint: '{}' {}: use http://HOST[:PORT] or https://HOST[:PORT]", value,
                      why);
  };
  auto at = value.find("://");
  if (at == std::string_view::npos) return wrong("names no scheme");
  url.scheme = value.substr(0, at);
  if (url.scheme != "http" && url.scheme != "https") return wrong("is neither http nor https");
  auto host = value.substr(at + 3);
  if (host.ends_with('/')) host.remove_suffix(1);
  for (char c : host) {
    bool is_good = is_lower_or_digit(c) || (c >= 'A' && c <= 'Z') || std::string_view("-.:[]_").contains(c);
    if (!is_good) return wrong("holds more than a host and a port");
  }
  auto colon = host.rfind(':');
  std::string_view name = host;
  // In [::1] only a ':' behind the bracket begins a port.
  if (colon != std::string_view::npos && (!host.contains(']') || colon > host.rfind(']'))) {
    auto port = host.substr(colon + 1);
    name = host.substr(0, colon);
    unsigned number = 0;
    auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
    if (error != std::errc{} || end != port.data() + port.size() || number == 0 || number > 65535)
      return wrong("has no port from 1 to 65535 behind its ':'");
    // The header Host is sent, and signed, without a port that goes without saying.
    if (number == (url.scheme == "http" ? 80u : 443u)) host = name;
  }
  if (name.empty()) return wrong("names no host");
  url.host = host;
  return {};
}

Status read_credentials(S3Url& url, std::string value) {
  using enum S3Url::Credentials;
  if (value == "env") return url.credentials = environment, Status{};
  if (value == "instance") return url.credentials = instance, Status{};
  if (!value.starts_with('/'))
    return fail_field("credentials",
                      "credentials: '{}' is neither env, instance nor the absolute path of a file", value);
  url.credentials = file;
  url.credentials_file = std::move(value);
  return {};
}

Status read_option(S3Url& url, std::string_view name, std::string value, std::optional<S3Url::Style>& style) {
  if (name == "endpoint") return read_endpoint(url, value);
  if (name == "credentials") return read_credentials(url, std::move(value));
  if (name == "region") {
    bool is_good = !value.empty() && value.size() <= 64;
    for (char c : value) is_good = is_good && (is_lower_or_digit(c) || c == '-');
    if (!is_good)
      return fail_field("region", "region: '{}' is no region: a-z, 0-9 and '-', as in eu-central-1", value);
    return url.region = std::move(value), Status{};
  }
  if (name == "style") {
    if (value != "path" && value != "host")
      return fail_field("style", "style: '{}' is neither path (HOST/BUCKET) nor host (BUCKET.HOST)", value);
    return style = value == "path" ? S3Url::Style::path : S3Url::Style::host, Status{};
  }
  if (name == "ca") {
    if (!value.starts_with('/'))
      return fail_field("ca", "ca: '{}' is not the absolute path of a file", value);
    return url.ca_file = std::move(value), Status{};
  }
  return fail_field(std::string(name),
                    "'{}' is no option of a pool URL: there are endpoint, region, style, credentials and ca",
                    name);
}

}  // namespace

std::string encode_s3_path(std::string_view path) {
  std::string out;
  out.reserve(path.size());
  for (char c : path) {
    bool is_plain = is_lower_or_digit(c) || (c >= 'A' && c <= 'Z') || std::string_view("-._~/").contains(c);
    if (is_plain)
      out += c;
    else
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

std::string S3Url::path_of(std::string_view key) const {
  std::string path = "/";
  if (style == Style::path) path += bucket + "/";
  if (!prefix.empty()) path += prefix + "/";
  path += key;
  return encode_s3_path(path);
}

Result<S3Url> parse_s3_url(std::string_view text) {
  if (!text.starts_with(scheme_prefix)) return fail_field("scheme", "'{}' does not begin with s3://", text);
  text.remove_prefix(scheme_prefix.size());
  auto question = text.find('?');
  auto place = text.substr(0, question);
  auto slash = place.find('/');
  S3Url url;
  url.bucket = place.substr(0, slash);
  if (slash != std::string_view::npos) url.prefix = place.substr(slash + 1);
  if (url.prefix.ends_with('/')) url.prefix.pop_back();
  EBB_CHECKED(check_bucket(url.bucket));
  EBB_CHECKED(check_prefix(url.prefix));

  std::optional<S3Url::Style> style;
  std::vector<std::string_view> seen;
  if (question != std::string_view::npos) {
    for (auto option : split(text.substr(question + 1), '&')) {
      auto equals = option.find('=');
      auto name = option.substr(0, equals);
      if (equals == std::string_view::npos)
        return fail_field(std::string(name),
                          "the option '{}' has no value: NAME=VALUE, with '&' between them", option);
      if (std::ranges::find(seen, name) != seen.end())
        return fail_field(std::string(name), "{} is given twice", name);
      seen.push_back(name);
      EBB_TRY(value, decode(name, option.substr(equals + 1)));
      EBB_CHECKED(read_option(url, name, std::move(value), style));
    }
  }
  bool has_endpoint = !url.host.empty();
  if (!has_endpoint) url.host = fmt::format("s3.{}.amazonaws.com", url.region);
  url.style = style.value_or(has_endpoint ? S3Url::Style::path : S3Url::Style::host);
  if (!url.ca_file.empty() && url.scheme != "https")
    return fail_field("ca", "ca: an http endpoint has no certificate");
  return url;
}

}  // namespace ebb
