// What each request of the S3 API does: the other half of S3Server.
#include <charconv>

#include "s3_server.h"

namespace ebb::s3test {
namespace {

constexpr std::size_t inline_hash_bytes_max = 128 * KiB;
constexpr std::size_t list_keys_max = 1000;

Refusal no_such_key() { return {404, "NoSuchKey", "The specified key does not exist."}; }
Refusal no_such_bucket() { return {404, "NoSuchBucket", "The specified bucket does not exist"}; }
Refusal not_implemented(std::string what) {
  return {501, "NotImplemented",
          "A header or parameter you provided implies functionality that is not implemented: " + what};
}
Refusal internal(const Error& error) { return {500, "InternalError", error.message}; }

std::string quoted(const std::string& tag) { return "\"" + tag + "\""; }

bool is_bucket_name(std::string_view name) {
  if (name.size() < 3 || name.size() > 63 || name.front() == '-' || name.back() == '-') return false;
  return name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-.") == name.npos;
}

// What would change the meaning of a request must be understood, or the request refused.
std::optional<Refusal> find_unknown(const Request& request) {
  for (const auto& [name, value] : request.query)
    if (name != "x-id") return not_implemented(name);
  for (auto name : {"x-amz-copy-source", "if-modified-since", "if-unmodified-since", "content-encoding",
                    "x-amz-server-side-encryption", "x-amz-object-lock-mode", "x-amz-tagging"})
    if (request.header(name)) return not_implemented(name);
  return std::nullopt;
}

Conditions conditions_of(const Request& request) {
  return {request.header("if-match"), request.header("if-none-match")};
}

Result<std::size_t> read_max_keys(const std::string& text) {
  std::size_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return fail(Code::invalid, "no number");
  return std::min(value, list_keys_max);
}

Answer<ListRequest> read_list_request(const std::map<std::string, std::string>& query) {
  ListRequest out;
  std::string start_after;
  for (const auto& [name, value] : query) {
    if (name == "list-type" && value != "2") return std::unexpected(not_implemented("list-type=" + value));
    if (name == "prefix") {
      out.prefix = value;
    } else if (name == "delimiter") {
      out.delimiter = value;
    } else if (name == "start-after" || name == "marker") {  // the second is version 1's word
      start_after = value;
    } else if (name == "continuation-token") {
      auto after = name_of_token(value);
      if (!after)
        return std::unexpected(
            Refusal{400, "InvalidArgument", "The continuation token provided is incorrect"});
      out.after = *after;
    } else if (name == "max-keys") {
      auto max = read_max_keys(value);
      if (!max) return std::unexpected(Refusal{400, "InvalidArgument", "max-keys is not a number"});
      out.max_keys = *max;
    } else if (name != "list-type" && name != "encoding-type" && name != "fetch-owner" && name != "x-id") {
      return std::unexpected(not_implemented(name));
    }
  }
  if (out.after.empty()) out.after = start_after;
  return out;
}

}  // namespace

Task<Reply> S3Server::carry_out(const Request* request, Mishap mishap) {
  if (request->bucket.empty()) co_return refusal_reply(not_implemented("listing buckets"), *request);
  if (request->key.empty()) co_return carry_out_bucket(*request);
  if (!objects_->has_bucket(request->bucket)) co_return refusal_reply(no_such_bucket(), *request);
  if (auto unknown = find_unknown(*request)) co_return refusal_reply(*unknown, *request);
  if (request->method == "PUT") co_return co_await put(request, mishap);
  if (request->method == "GET" || request->method == "HEAD") co_return co_await get(request, mishap);
  if (request->method == "DELETE") co_return remove(*request, mishap);
  co_return refusal_reply(
      {405, "MethodNotAllowed", "The specified method is not allowed against this resource."}, *request);
}

Reply S3Server::carry_out_bucket(const Request& request) {
  bool exists = objects_->has_bucket(request.bucket);
  if (request.method == "PUT" && request.query.empty()) {
    if (!is_bucket_name(request.bucket))
      return refusal_reply({400, "InvalidBucketName", "The specified bucket is not valid."}, request);
    if (exists)
      return refusal_reply(
          {409, "BucketAlreadyOwnedByYou", "The bucket you tried to create already exists, and you own it."},
          request);
    if (auto made = objects_->create_bucket(request.bucket); !made)
      return refusal_reply(internal(made.error()), request);
    Reply reply;
    reply.headers.emplace_back("Location", "/" + request.bucket);
    return reply;
  }
  if (!exists) return refusal_reply(no_such_bucket(), request);
  if (request.method == "HEAD" && request.query.empty()) {
    Reply reply;
    reply.headers.emplace_back("x-amz-bucket-region", options_.key.region);
    return reply;
  }
  if (request.method == "GET" &&
      (request.query.contains("lifecycle") || request.query.contains("replication")))
    return rules_of_bucket(request);
  if (request.method == "GET") return list(request);
  return refusal_reply(not_implemented(request.method + " of a bucket"), request);
}

Reply S3Server::rules_of_bucket(const Request& request) {
  if (options_.bucket_rules == BucketRules::forbidden)
    return refusal_reply({403, "AccessDenied", "Access Denied"}, request);
  if (options_.bucket_rules == BucketRules::not_implemented)
    return refusal_reply(not_implemented(request.query.begin()->first), request);
  const bool is_lifecycle = request.query.contains("lifecycle");
  auto found = rules_.find((is_lifecycle ? "lifecycle/" : "replication/") + request.bucket);
  if (found != rules_.end() && !found->second.empty())
    return text_reply(200, "application/xml", found->second);
  if (is_lifecycle)
    return refusal_reply({404, "NoSuchLifecycleConfiguration", "The lifecycle configuration does not exist"},
                         request);
  return refusal_reply(
      {404, "ReplicationConfigurationNotFoundError", "The replication configuration was not found"}, request);
}

Reply S3Server::list(const Request& request) {
  auto wanted = read_list_request(request.query);
  if (!wanted) return refusal_reply(wanted.error(), request);
  return listing_reply(request.bucket, *wanted, objects_->list(request.bucket, *wanted), request.query);
}

Task<Reply> S3Server::put(const Request* request, Mishap mishap) {
  auto conditions = conditions_of(*request);
  if (conditions.if_match || conditions.if_none_match) ++stats_.conditional_puts;
  if (conditions.if_none_match && *conditions.if_none_match != "*")
    co_return refusal_reply(not_implemented("If-None-Match of a PUT with another value than *"), *request);
  auto body = request->body;
  auto promised = *request->header("x-amz-content-sha256");
  Digests digests;
  if (body->size() <= inline_hash_bytes_max) {
    digests = digest_body(*body, promised);
  } else {
    digests = co_await blocking(loop_, [body, promised] { return digest_body(*body, promised); });
  }
  if (auto whole = check_payload(*request, digests); !whole) co_return refusal_reply(whole.error(), *request);
  auto prepared = co_await objects_->prepare(request->bucket, request->key, body, digests.md5);
  if (!prepared) co_return refusal_reply(internal(prepared.error()), *request);

  // From here to publish() nothing waits: that is what makes it atomic.
  auto current = objects_->find(request->bucket, request->key);
  if (!mishap.is(Fault::ignore_conditions)) {
    if (auto allowed = check_conditions(current.get(), conditions, options_.if_match); !allowed) {
      objects_->discard(*prepared);
      co_return refusal_reply(allowed.error(), *request);
    }
  }
  auto published = objects_->publish(request->bucket, request->key, std::move(*prepared));
  if (!published) co_return refusal_reply(internal(published.error()), *request);
  Reply reply;
  reply.headers.emplace_back("ETag", quoted((*published)->etag));
  co_return reply;
}

Task<Reply> S3Server::get(const Request* request, Mishap mishap) {
  auto version = mishap.is(Fault::stale_read) ? objects_->find_previous(request->bucket, request->key)
                                              : objects_->find(request->bucket, request->key);
  if (!version) co_return refusal_reply(no_such_key(), *request);
  auto conditions = conditions_of(*request);
  Reply reply;
  reply.headers.emplace_back("ETag", quoted(version->etag));
  if (auto wanted = check_conditions(version.get(), conditions, IfMatchTags::either); !wanted) {
    if (!check_conditions(version.get(), {conditions.if_match, nullptr}, IfMatchTags::either))
      co_return refusal_reply(wanted.error(), *request);
    reply.status = 304;
    co_return reply;
  }
  ByteRange part{0, version->size};
  if (auto* header = request->header("range"); header && !mishap.is(Fault::wrong_range)) {
    auto range = parse_range(*header, version->size);
    if (!range) {
      auto refused = refusal_reply(range.error(), *request);
      refused.headers.emplace_back("Content-Range", fmt::format("bytes */{}", version->size));
      co_return refused;
    }
    if (*range) {
      part = **range;
      reply.status = 206;
      reply.headers.emplace_back("Content-Range", fmt::format("bytes {}-{}/{}", part.offset,
                                                              part.offset + part.length - 1, version->size));
    }
  }
  reply.headers.emplace_back("Accept-Ranges", "bytes");
  reply.headers.emplace_back("Last-Modified", http_time(version->modified));
  reply.headers.emplace_back("Content-Type", "binary/octet-stream");
  reply.length = part.length;
  if (request->method == "HEAD") co_return reply;
  if (version->bytes) {
    reply.body = version->bytes, reply.offset = part.offset;
    co_return reply;
  }
  auto bytes = co_await objects_->read(version, part.offset, part.length);
  if (!bytes || (*bytes)->size() != part.length)
    co_return refusal_reply({500, "InternalError", "the object's file cannot be read"}, *request);
  reply.body = std::move(*bytes);
  co_return reply;
}

Reply S3Server::remove(const Request& request, Mishap mishap) {
  auto current = objects_->find(request.bucket, request.key);
  Conditions conditions{request.header("if-match"), nullptr};
  if (!mishap.is(Fault::ignore_conditions)) {
    if (auto allowed = check_conditions(current.get(), conditions, options_.if_match); !allowed)
      return refusal_reply(allowed.error(), request);
  }
  if (auto removed = objects_->remove(request.bucket, request.key); !removed)
    return refusal_reply(internal(removed.error()), request);
  Reply reply;
  reply.status = 204;
  return reply;
}

}  // namespace ebb::s3test
