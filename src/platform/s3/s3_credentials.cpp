#include "platform/s3/s3_credentials.h"

#include <ctime>

#include "base/json.h"
#include "base/text.h"
#include "env/scope.h"
#include "platform/posix_files.h"
#include "platform/s3/curl_transport.h"

extern char** environ;

namespace ebb {
namespace {

constexpr Duration file_fresh = 60s;  // an edited file is seen after so long
constexpr int token_seconds = 21'600;

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t' || text.back() == '\r'))
    text.remove_suffix(1);
  return text;
}

std::string variable(const Variables& variables, const std::string& name) {
  auto found = variables.find(name);
  return found == variables.end() ? "" : found->second;
}

class EnvironmentCredentials final : public S3Credentials {
 public:
  explicit EnvironmentCredentials(Result<S3Keys> keys) : keys_(std::move(keys)) {}
  Task<Result<S3Keys>> keys() override { co_return keys_; }
  void forget() override {}

 private:
  Result<S3Keys> keys_;
};

class FileCredentials final : public S3Credentials {
 public:
  FileCredentials(AsioLoop& loop, std::string path) : loop_(loop), files_(loop), path_(std::move(path)) {}
  Task<Result<S3Keys>> keys() override {
    if (keys_ && loop_.now() - read_at_ < file_fresh) co_return *keys_;
    auto text = co_await files_.read_all(path_);
    auto read = text ? keys_from_ini(as_text(*text), path_) : fail(std::move(text).error());
    if (!read) co_return fail(std::move(read).error().within("credentials"));
    keys_ = *read, read_at_ = loop_.now();
    co_return *read;
  }
  void forget() override { keys_.reset(); }

 private:
  AsioLoop& loop_;
  PosixFiles files_;
  std::string path_;
  std::optional<S3Keys> keys_;
  Instant read_at_{};
};

class InstanceCredentials final : public S3Credentials {
 public:
  InstanceCredentials(AsioLoop& loop, CurlTransport& transport, std::string endpoint, S3KeyLimits limits)
      : loop_(loop),
        transport_(transport),
        mutex_(loop),
        endpoint_(std::move(endpoint)),
        limits_(limits),
        renewal_(loop) {}

  // Nobody waits for new ones while the old ones are good, however long the service takes.
  Task<Result<S3Keys>> keys() override {
    if (are_good()) {
      renew_in_time();
      co_return *keys_;
    }
    auto guard = co_await mutex_.lock();
    if (!are_good()) EBB_CO_CHECKED(co_await renew());  // else somebody fetched them meanwhile
    co_return *keys_;
  }
  // At most once in `ask_again`: a store that refuses whatever there is must not make us ask at each request.
  void forget() override {
    const auto now = loop_.wall_now();
    if (now < look_again_at_after_refusal_) return;
    look_again_at_after_refusal_ = now + to_ms(limits_.ask_again);
    keys_.reset();
  }

 private:
  bool are_good() const { return keys_ && (!keys_->expires || loop_.wall_now() < *keys_->expires); }

  void renew_in_time() {
    const auto now = loop_.wall_now();
    const bool is_due = keys_->expires && now >= *keys_->expires - to_ms(limits_.renew_before);
    if (!is_due || now < look_again_at_) return;
    look_again_at_ = now + to_ms(limits_.ask_again);
    if (renewal_.size() > 0) return;
    renewal_.spawn([](InstanceCredentials* self) -> Task<void> {
      auto guard = co_await self->mutex_.lock();
      (void)co_await self->renew();
    }(this));
  }

  Task<Status> renew() {
    auto fetched = co_await fetch();
    if (!fetched) co_return fail(std::move(fetched).error().within("credentials of the instance"));
    keys_ = std::move(*fetched);
    look_again_at_ = loop_.wall_now() + to_ms(limits_.ask_again);
    co_return Status{};
  }

  Task<Result<std::string>> ask(std::string method, std::string path, std::string header) {
    CurlRequest request;
    request.method = std::move(method), request.url = endpoint_ + path;
    if (!header.empty()) request.headers.push_back(std::move(header));
    auto what = fmt::format("{} {}", request.method, request.url);
    EBB_CO_TRY(reply, co_await transport_.send(std::move(request)));
    if (reply.status == 404) co_return fail(Code::invalid, "{}: not found: has this instance a role?", what);
    if (reply.status != 200) co_return fail(Code::unavailable, "{}: status {}", what, reply.status);
    co_return std::string(trimmed(as_text(reply.body)));
  }

  Task<Result<S3Keys>> fetch() {
    const std::string roles = "/latest/meta-data/iam/security-credentials/";
    EBB_CO_TRY(token, co_await ask("PUT", "/latest/api/token",
                                   fmt::format("X-aws-ec2-metadata-token-ttl-seconds: {}", token_seconds)));
    auto proof = "X-aws-ec2-metadata-token: " + token;
    EBB_CO_TRY(role, co_await ask("GET", roles, proof));
    auto name = std::string(trimmed(split(role, '\n').front()));
    if (name.empty()) co_return fail(Code::invalid, "this instance has no role");
    EBB_CO_TRY(answer, co_await ask("GET", roles + encode_s3_path(name), proof));
    EBB_CO_TRY(keys, keys_from_instance(answer));
    if (keys.expires.value_or(0) <= loop_.wall_now())
      co_return fail(Code::unavailable, "the metadata service gave keys that have ended");
    co_return keys;
  }

  AsioLoop& loop_;
  CurlTransport& transport_;
  AsyncMutex mutex_;
  std::string endpoint_;
  const S3KeyLimits limits_;
  std::optional<S3Keys> keys_;
  WallMs look_again_at_ = 0, look_again_at_after_refusal_ = 0;
  Scope renewal_;  // last: its task ends before what it uses
};

}  // namespace

Variables aws_variables() {
  Variables found;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    std::string_view text(*entry);
    auto at = text.find('=');
    if (text.starts_with("AWS_") && at != std::string_view::npos)
      found.emplace(text.substr(0, at), text.substr(at + 1));
  }
  return found;
}

Result<S3Keys> keys_from_environment(const Variables& variables) {
  S3Keys keys{variable(variables, "AWS_ACCESS_KEY_ID"), variable(variables, "AWS_SECRET_ACCESS_KEY"),
              variable(variables, "AWS_SESSION_TOKEN"), std::nullopt};
  if (keys.access_key.empty())
    return fail_field("credentials", "credentials: AWS_ACCESS_KEY_ID is not set in the environment");
  if (keys.secret_key.empty())
    return fail_field("credentials", "credentials: AWS_SECRET_ACCESS_KEY is not set in the environment");
  return keys;
}

Result<S3Keys> keys_from_ini(std::string_view text, std::string_view path, std::string_view profile) {
  S3Keys keys;
  bool is_inside = false, found = false;
  for (auto line : split(text, '\n')) {
    line = trimmed(line);
    if (line.empty() || line.starts_with('#') || line.starts_with(';')) continue;
    if (line.starts_with('[') && line.ends_with(']')) {
      is_inside = trimmed(line.substr(1, line.size() - 2)) == profile;
      found = found || is_inside;
      continue;
    }
    auto at = line.find('=');
    // The line itself is not told: it may be a key.
    if (at == std::string_view::npos)
      return fail_field("credentials", "{} has a line that is no NAME = VALUE", path);
    auto name = trimmed(line.substr(0, at));
    auto value = std::string(trimmed(line.substr(at + 1)));
    if (!is_inside) continue;
    if (name == "aws_access_key_id") keys.access_key = value;
    if (name == "aws_secret_access_key") keys.secret_key = value;
    if (name == "aws_session_token") keys.session_token = value;
  }
  if (!found) return fail_field("credentials", "{} has no section [{}]", path, profile);
  if (keys.access_key.empty())
    return fail_field("credentials", "{}: [{}] has no aws_access_key_id", path, profile);
  if (keys.secret_key.empty())
    return fail_field("credentials", "{}: [{}] has no aws_secret_access_key", path, profile);
  return keys;
}

std::optional<WallMs> parse_utc_time(std::string_view text) {
  std::tm parts{};
  auto terminated = std::string(text);
  const char* end = strptime(terminated.c_str(), "%Y-%m-%dT%H:%M:%S", &parts);
  if (end == nullptr || std::string_view(end) != "Z") return std::nullopt;
  return static_cast<WallMs>(timegm(&parts)) * 1000;
}

Result<S3Keys> keys_from_instance(std::string_view text) {
  auto wrong = [](std::string_view why) {
    return fail(Code::unavailable, "the metadata service's answer {}", why);
  };
  auto value = json::parse(text);
  if (!value || !value->is_object()) return wrong("is no JSON object");
  const auto& object = value->get_object();
  auto field = [&](std::string_view name) -> std::string {
    auto* found = object.if_contains(name);
    return found != nullptr && found->is_string() ? std::string(found->get_string()) : "";
  };
  if (auto code = field("Code"); !code.empty() && code != "Success") return wrong("says " + code);
  S3Keys keys{field("AccessKeyId"), field("SecretAccessKey"), field("Token"),
              parse_utc_time(field("Expiration"))};
  if (keys.access_key.empty() || keys.secret_key.empty()) return wrong("holds no keys");
  if (!keys.expires) return wrong("does not say when its keys end");
  return keys;
}

std::unique_ptr<S3Credentials> make_s3_credentials(AsioLoop& loop, CurlTransport& transport, const S3Url& url,
                                                   Variables variables, S3KeyLimits limits) {
  using enum S3Url::Credentials;
  auto from_environment = [&] {
    return std::make_unique<EnvironmentCredentials>(keys_from_environment(variables));
  };
  auto from_instance = [&] {
    auto endpoint = variable(variables, "AWS_EC2_METADATA_SERVICE_ENDPOINT");
    if (endpoint.empty()) endpoint = "http://169.254.169.254";
    while (endpoint.ends_with('/')) endpoint.pop_back();
    return std::make_unique<InstanceCredentials>(loop, transport, endpoint, limits);
  };
  switch (url.credentials) {
    case environment:
      return from_environment();
    case instance:
      return from_instance();
    case file:
      return std::make_unique<FileCredentials>(loop, url.credentials_file);
    case automatic:
      break;
  }
  if (!variable(variables, "AWS_ACCESS_KEY_ID").empty()) return from_environment();
  return from_instance();
}

}  // namespace ebb
