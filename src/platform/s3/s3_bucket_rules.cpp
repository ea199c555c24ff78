#include "platform/s3/s3_bucket_rules.h"

#include "platform/s3/s3_answer.h"

namespace ebb {
namespace {

struct BucketRule {
  std::string id, prefix;
  std::string_view body;  // of the reply
};

// The rules in force that objects of the pool fall under. Error: what the store said instead of telling.
// Which objects a rule means is read from its prefix alone: one that asks for tags as well counts.
Result<std::vector<BucketRule>> rules_of(std::string_view xml, const PoolPlace& pool) {
  const auto ours = pool.prefix.empty() ? "" : pool.prefix + "/";
  const auto probes = ours + "probe/";
  std::vector<BucketRule> rules;
  for (;;) {
    constexpr std::string_view open = "<Rule>", close = "</Rule>";
    auto begin = xml.find(open);
    if (begin == std::string_view::npos) return rules;
    auto end = xml.find(close, begin);
    if (end == std::string_view::npos) return fail(Code::unavailable, "its answer is cut short");
    BucketRule rule;
    rule.body = xml.substr(begin + open.size(), end - begin - open.size());
    rule.id = xml_element(rule.body, "ID"), rule.prefix = xml_element(rule.body, "Prefix");
    const bool meets = ours.starts_with(rule.prefix) || rule.prefix.starts_with(ours);
    if (meets && !rule.prefix.starts_with(probes) && xml_element(rule.body, "Status") == "Enabled")
      rules.push_back(std::move(rule));
    xml.remove_prefix(end + close.size());
  }
}

// A bucket without such rules has no document: `none` are the words for that.
Result<std::vector<BucketRule>> read_rules(const CurlReply& reply, const PoolPlace& pool,
                                           std::string_view document,
                                           std::initializer_list<std::string_view> none) {
  auto text = as_text(reply.body);
  if (reply.status == 200) {
    // A store that does not know the question may answer another one, such as for a listing.
    if (!text.contains(fmt::format("<{}", document)))
      return fail(Code::unavailable, "its answer is no {}", document);
    return rules_of(text, pool);
  }
  auto error = read_error_body(text);
  if (reply.status == 404 && std::ranges::find(none, error.code) != none.end())
    return std::vector<BucketRule>();
  return fail(Code::unavailable, "status {}{}", reply.status, error.code.empty() ? "" : ", " + error.code);
}

bool removes_objects(const BucketRule& rule) {
  // Without a day it removes marks of deletion, and beside Expiration there are rules for old versions.
  for (auto when : {"Days", "Date"})
    if (!xml_element(xml_element(rule.body, "Expiration"), when).empty()) return true;
  return false;
}

}  // namespace

StoreFinding expiry_of(const CurlReply& reply, const PoolPlace& pool) {
  auto rules = read_rules(reply, pool, "LifecycleConfiguration", {"NoSuchLifecycleConfiguration"});
  if (!rules) return StoreFinding::unknown(rules.error().message);
  for (const auto& rule : *rules) {
    if (!removes_objects(rule)) continue;
    return StoreFinding::harmful(fmt::format("the lifecycle rule '{}' of bucket '{}' removes objects of it",
                                             rule.id.empty() ? rule.prefix : rule.id, pool.bucket));
  }
  return {};
}

Result<std::vector<std::string>> replication_targets(const CurlReply& reply, const PoolPlace& pool) {
  EBB_TRY(rules, read_rules(reply, pool, "ReplicationConfiguration",
                            {"ReplicationConfigurationNotFoundError", "NoSuchReplicationConfiguration"}));
  std::vector<std::string> buckets;
  for (const auto& rule : rules) {
    auto bucket = xml_element(xml_element(rule.body, "Destination"), "Bucket");
    bucket.erase(0, bucket.rfind(':') + 1);  // arn:aws:s3:::BUCKET
    if (std::ranges::find(buckets, bucket) == buckets.end()) buckets.push_back(std::move(bucket));
  }
  return buckets;
}

}  // namespace ebb
