#include "platform/s3/s3_store.h"

#include "platform/folder_store.h"
#include "platform/s3/s3_answer.h"
#include "platform/s3/s3_bucket_rules.h"
#include "platform/s3/s3_signer.h"

namespace ebb {
namespace {

constexpr std::string_view unsigned_payload = "UNSIGNED-PAYLOAD";
// Larger bodies are hashed on a thread of the loop's, so that the loop goes on.
constexpr std::size_t hash_in_place_max = 64 * KiB;
constexpr int quoting_tries = 5;

struct S3Request {
  S3Asked asked;
  HeaderList headers;
  SharedBytes body;
  std::string query;                    // "NAME="
  std::optional<S3Url> elsewhere = {};  // another place than the pool's
};

Result<std::size_t> content_range_begin(const CurlReply& reply) {
  // "bytes 10-19/100"
  auto found = reply.headers.find("content-range");
  constexpr std::string_view unit = "bytes ";
  if (found == reply.headers.end() || !found->second.starts_with(unit))
    return fail(Code::unavailable, "a partial reply does not say which part it is");
  std::size_t begin = 0;
  auto digits = std::string_view(found->second).substr(unit.size());
  for (char c : digits.substr(0, digits.find('-'))) {
    if (c < '0' || c > '9') return fail(Code::unavailable, "a partial reply says '{}'", found->second);
    begin = begin * 10 + static_cast<std::size_t>(c - '0');
  }
  return begin;
}

}  // namespace

struct S3Store::Core {
  Core(AsioLoop& l, S3Url u, Variables variables, S3Limits limit)
      : loop(l),
        url(std::move(u)),
        limits(limit),
        transport(l, limit.transfer),
        credentials(make_s3_credentials(l, transport, url, std::move(variables))),
        signer(url.region),
        finding_out(l) {}

  using Self = std::shared_ptr<Core>;

  S3Request request_of(S3Asked::Verb verb, const std::string& key) const {
    S3Request request;
    request.asked = {verb, PutCondition::Kind::none, url.bucket, key};
    return request;
  }
  CurlRequest sign(const S3Request& request, const S3Keys& keys, std::string hash);

  // One try: any answer of the store, or why there is none.
  static Task<Result<CurlReply>> once(Self self, S3Request request);
  static Task<Result<CurlReply>> with_retries(Self self, S3Request request);
  static Task<std::string> hash_of(Self self, SharedBytes body);
  static Task<Result<ObjectTag>> put(Self self, std::string key, SharedBytes body, PutCondition condition);
  static Task<Result<ObjectTag>> put_as(Self self, std::string key, SharedBytes body, PutCondition condition,
                                        TagQuoting quoting);
  static Task<Result<StoredObject>> get(Self self, std::string key);
  static Task<Result<Bytes>> get_range(Self self, std::string key, std::uint64_t offset, std::size_t length);
  static Task<Status> remove(Self self, std::string key);
  static Task<Result<TagQuoting>> find_out(Self self);
  static Task<Result<CurlReply>> ask_bucket(Self self, std::string bucket, std::string what);
  static Task<StoreFinding> expiry(Self self);
  static Task<StoreFinding> replication(Self self);
  PoolPlace place() const { return {url.bucket, url.prefix}; }

  AsioLoop& loop;
  const S3Url url;
  const S3Limits limits;
  CurlTransport transport;
  std::unique_ptr<S3Credentials> credentials;
  S3Signer signer;
  TagQuoting quoting = TagQuoting::unknown;
  AsyncMutex finding_out;
  bool is_closed = false;
};

namespace {
std::string_view method_of(S3Asked::Verb verb) {
  switch (verb) {
    case S3Asked::Verb::get:
      return "GET";
    case S3Asked::Verb::put:
      return "PUT";
    case S3Asked::Verb::remove:
      return "DELETE";
  }
  return "";
}
}  // namespace

CurlRequest S3Store::Core::sign(const S3Request& request, const S3Keys& keys, std::string hash) {
  auto now = loop.wall_now();
  const auto& place = request.elsewhere ? *request.elsewhere : url;
  RequestToSign to_sign;
  to_sign.method = method_of(request.asked.verb);
  to_sign.path = place.path_of(request.asked.key), to_sign.query = request.query;
  to_sign.headers = request.headers;  // conditions and ranges are signed too: nobody on the way may drop them
  to_sign.headers.emplace_back("host", place.request_host());
  to_sign.headers.emplace_back("x-amz-content-sha256", hash);
  to_sign.headers.emplace_back("x-amz-date", amz_date(now));
  if (!keys.session_token.empty()) to_sign.headers.emplace_back("x-amz-security-token", keys.session_token);
  to_sign.payload_hash = std::move(hash);

  CurlRequest out;
  out.method = to_sign.method, out.body = request.body, out.ca_file = place.ca_file;
  out.url = fmt::format("{}://{}{}{}{}", place.scheme, place.request_host(), to_sign.path,
                        to_sign.query.empty() ? "" : "?", to_sign.query);
  for (const auto& [name, value] : to_sign.headers) out.headers.push_back(name + ": " + value);
  out.headers.push_back("authorization: " + signer.authorization(std::move(to_sign), keys, now));
  return out;
}

Task<std::string> S3Store::Core::hash_of(Self self, SharedBytes body) {
  static const std::string of_nothing = payload_hash({});
  if (!body || body->empty()) co_return of_nothing;
  // Inside TLS nobody can change it.
  if (self->url.scheme == "https") co_return std::string(unsigned_payload);
  if (body->size() <= hash_in_place_max) co_return payload_hash(*body);
  co_return co_await blocking(self->loop, [body] { return payload_hash(*body); });
}

Task<Result<CurlReply>> S3Store::Core::once(Self self, S3Request request) {
  auto hash = co_await hash_of(self, request.body);
  EBB_CO_TRY(keys, co_await self->credentials->keys());
  if (self->is_closed) co_return fail(Code::unavailable, "the store is closed");
  EBB_CO_TRY(reply, co_await self->transport.send(self->sign(request, keys, std::move(hash))));
  if (is_about_keys(reply)) self->credentials->forget();
  co_return reply;
}

Task<Result<CurlReply>> S3Store::Core::with_retries(Self self, S3Request request) {
  auto began = self->loop.now();
  auto longest = self->limits.retry_first;
  for (int tried = 0;; ++tried) {
    auto reply = co_await once(self, request);
    std::optional<Duration> wanted;
    auto code = Code::unavailable;
    if (reply) {
      if (reply->status < 300 || reply->status == 416) co_return reply;
      code = error_of(*reply, request.asked).code;
      wanted = retry_after(*reply);
    } else {
      code = reply.error().code;
    }
    if (code != Code::unavailable && code != Code::busy) co_return reply;
    if (tried == self->limits.retries_max || self->is_closed) co_return reply;
    // Full jitter: many who failed together do not come back together.
    auto pause = Duration(
        static_cast<Duration::rep>(self->loop.random().unit() * static_cast<double>(longest.count())));
    if (wanted) pause = std::max(pause, *wanted);
    if (self->loop.now() + pause - began >= self->limits.retry_total) co_return reply;
    co_await sleep_for(self->loop, pause);
    longest = std::min(2 * longest, self->limits.retry_max);
  }
}

Task<Result<ObjectTag>> S3Store::Core::put_as(Self self, std::string key, SharedBytes body,
                                              PutCondition condition, TagQuoting quoting) {
  auto request = self->request_of(S3Asked::Verb::put, key);
  request.asked.condition = condition.kind;
  request.body = std::move(body);
  switch (condition.kind) {
    case PutCondition::Kind::none:
      break;
    case PutCondition::Kind::absent:
      request.headers.emplace_back("if-none-match", "*");
      break;
    case PutCondition::Kind::match:
      request.headers.emplace_back(
          "if-match", quoting == TagQuoting::bare ? condition.tag.value : '"' + condition.tag.value + '"');
      break;
  }
  auto asked = request.asked;
  bool may_repeat = condition.kind == PutCondition::Kind::none;
  auto sent = may_repeat ? with_retries(self, std::move(request)) : once(self, std::move(request));
  EBB_CO_TRY(reply, co_await sent);
  if (reply.status != 200 && reply.status != 201 && reply.status != 204)
    co_return fail(error_of(reply, asked));
  auto tag = tag_of(reply);
  if (tag.value.empty()) co_return fail(Code::unavailable, "put {}: the store gave it no ETag", key);
  co_return tag;
}

Task<Result<ObjectTag>> S3Store::Core::put(Self self, std::string key, SharedBytes body,
                                           PutCondition condition) {
  EBB_CO_CHECKED(check_object_key(key));
  if (condition.kind == PutCondition::Kind::match && self->quoting == TagQuoting::unknown)
    EBB_CO_CHECKED(co_await find_out(self));
  co_return co_await put_as(self, std::move(key), std::move(body), std::move(condition), self->quoting);
}

Task<Result<StoredObject>> S3Store::Core::get(Self self, std::string key) {
  EBB_CO_CHECKED(check_object_key(key));
  auto request = self->request_of(S3Asked::Verb::get, key);
  EBB_CO_TRY(reply, co_await with_retries(self, request));
  if (reply.status != 200) co_return fail(error_of(reply, request.asked));
  auto tag = tag_of(reply);
  if (tag.value.empty())
    co_return fail(Code::invalid, "get {}: the store gave no ETag: is it an S3 store?", key);
  co_return StoredObject{std::move(reply.body), std::move(tag)};
}

Task<Result<Bytes>> S3Store::Core::get_range(Self self, std::string key, std::uint64_t offset,
                                             std::size_t length) {
  EBB_CO_CHECKED(check_object_key(key));
  auto request = self->request_of(S3Asked::Verb::get, key);
  // An empty range cannot be asked for; whether the object is there must be known all the same.
  auto last = offset + std::max<std::uint64_t>(length, 1) - 1;
  if (last < offset) last = ~std::uint64_t{0} >> 1;
  request.headers.emplace_back("range", fmt::format("bytes={}-{}", offset, last));
  EBB_CO_TRY(reply, co_await with_retries(self, request));
  if (reply.status == 416) co_return Bytes{};  // begins at or behind the end
  if (reply.status != 206 && reply.status != 200) co_return fail(error_of(reply, request.asked));
  std::size_t begin = 0;  // of a store that gives the whole object all the same
  if (reply.status == 206) {
    EBB_CO_TRY(at, content_range_begin(reply));
    begin = at;
  }
  if (begin > offset)
    co_return fail(Code::unavailable, "get {}: the store gave another range than was asked for", key);
  auto& body = reply.body;
  auto skipped = std::min<std::uint64_t>(offset - begin, body.size());
  if (skipped > 0) body.erase(body.begin(), body.begin() + static_cast<std::ptrdiff_t>(skipped));
  if (body.size() > length) body.resize(length);
  co_return std::move(body);
}

// May be repeated: keys of what is removed are never used again.
Task<Status> S3Store::Core::remove(Self self, std::string key) {
  EBB_CO_CHECKED(check_object_key(key));
  auto request = self->request_of(S3Asked::Verb::remove, key);
  EBB_CO_TRY(reply, co_await with_retries(self, request));
  if (reply.status == 204 || reply.status == 200) co_return Status{};
  auto failed = error_of(reply, request.asked);
  if (failed.code == Code::not_found) co_return Status{};
  co_return fail(std::move(failed));
}

Task<Result<TagQuoting>> S3Store::Core::find_out(Self self) {
  auto guard = co_await self->finding_out.lock();
  if (self->quoting != TagQuoting::unknown) co_return self->quoting;  // somebody found out meanwhile
  auto nonce = self->loop.random().token(20);
  auto key = fmt::format("probe/{}/quoting", nonce);
  auto body_of = [&](int number) {
    return std::make_shared<const Bytes>(to_bytes(fmt::format("ebb probe {} {}", nonce, number)));
  };
  Error last{Code::unavailable, "find out how tags are quoted: no answer", {}};
  // What is there is read each time, so that it does not matter what became of a try without an answer.
  EBB_CO_CHECKED(co_await put_as(self, key, body_of(0), PutCondition::always(), TagQuoting::quoted));
  for (int tried = 0; tried < quoting_tries; ++tried) {
    int refused = 0;
    for (auto form : {TagQuoting::quoted, TagQuoting::bare}) {
      auto current = co_await get(self, key);
      if (!current &&
          current.error().code == Code::not_found)  // of our own key: says nothing about the caller's
        current = fail(Code::unavailable, "{}", current.error().message);
      if (!current) co_return fail(std::move(current).error().within("find out how tags are quoted"));
      auto body = body_of(1 + 2 * tried + (form == TagQuoting::bare));
      auto done = co_await put_as(self, key, body, PutCondition::if_match(current->tag), form);
      if (done) co_return self->quoting = form;
      last = done.error();
      if (last.code == Code::invalid) co_return fail(std::move(last).within("find out how tags are quoted"));
      if (last.code == Code::conflict) ++refused;
    }
    if (refused == 2) {
      co_return fail(
          Code::invalid,
          "{} refuses If-Match with the tag that it gave itself, quoted and bare: it cannot hold a pool",
          self->url.request_host());
    }
    co_await sleep_for(self->loop, self->limits.retry_first);
  }
  co_return fail(std::move(last).within("find out how tags are quoted"));
}

// Any answer to GET BUCKET?WHAT that is one: what it means is for those who ask.
Task<Result<CurlReply>> S3Store::Core::ask_bucket(Self self, std::string bucket, std::string what) {
  auto request = self->request_of(S3Asked::Verb::get, "");
  request.query = what + "=";
  request.elsewhere = self->url;
  request.elsewhere->bucket = std::move(bucket), request.elsewhere->prefix.clear();
  for (int tried = 1;; ++tried) {
    auto reply = co_await once(self, request);
    const bool is_final = reply && (reply->status < 500 || reply->status == 501) && reply->status != 429 &&
                          reply->status != 408;
    if (is_final || tried > self->limits.retries_max || self->is_closed) co_return reply;
    co_await sleep_for(self->loop, tried * self->limits.retry_first);
  }
}

Task<StoreFinding> S3Store::Core::expiry(Self self) {
  auto reply = co_await ask_bucket(self, self->url.bucket, "lifecycle");
  if (!reply) co_return StoreFinding::unknown(reply.error().message);
  co_return expiry_of(*reply, self->place());
}

// A copy that others only read does no harm; writes that come back from it would pass by all conditions.
Task<StoreFinding> S3Store::Core::replication(Self self) {
  auto targets_of = [](Self s, std::string bucket) -> Task<Result<std::vector<std::string>>> {
    EBB_CO_TRY(reply, co_await ask_bucket(s, std::move(bucket), "replication"));
    co_return replication_targets(reply, s->place());
  };
  auto targets = co_await targets_of(self, self->url.bucket);
  if (!targets) co_return StoreFinding::unknown(targets.error().message);
  for (const auto& target : *targets) {
    auto back = co_await targets_of(self, target);
    if (!back)
      co_return StoreFinding::unknown(
          fmt::format("objects are copied to bucket '{}', and of that: {}", target, back.error().message));
    if (std::ranges::find(*back, self->url.bucket) != back->end())
      co_return StoreFinding::harmful(
          fmt::format("buckets '{}' and '{}' are copied to each other", self->url.bucket, target));
  }
  co_return StoreFinding{};
}

S3Store::S3Store(AsioLoop& loop, S3Url url, Variables variables, S3Limits limits)
    : core_(std::make_shared<Core>(loop, std::move(url), std::move(variables), limits)) {}

S3Store::~S3Store() {
  core_->is_closed = true;
  core_->transport.close();
}

Task<Result<ObjectTag>> S3Store::put(std::string key, SharedBytes body, PutCondition condition) {
  return Core::put(core_, std::move(key), std::move(body), std::move(condition));
}
Task<Result<StoredObject>> S3Store::get(std::string key) { return Core::get(core_, std::move(key)); }
Task<Result<Bytes>> S3Store::get_range(std::string key, std::uint64_t offset, std::size_t length) {
  return Core::get_range(core_, std::move(key), offset, length);
}
Task<Status> S3Store::remove(std::string key) { return Core::remove(core_, std::move(key)); }
Task<StoreFinding> S3Store::expiry() { return Core::expiry(core_); }
Task<StoreFinding> S3Store::replication() { return Core::replication(core_); }
Task<Result<TagQuoting>> S3Store::find_out_quoting() { return Core::find_out(core_); }
TagQuoting S3Store::quoting() const { return core_->quoting; }
void S3Store::set_quoting(TagQuoting quoting) { core_->quoting = quoting; }

}  // namespace ebb
