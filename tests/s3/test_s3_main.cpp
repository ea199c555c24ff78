// ebb-test-s3: our S3 server for tests as a program. Says "listening on ADDRESS" on stdout; ends at SIGTERM.
#include <cstdio>
#include <fstream>
#include <sstream>

#include "base/text.h"
#include "platform/socket_network.h"
#include "s3_server.h"
#include "tls_network.h"

using namespace ebb;
using namespace ebb::s3test;

namespace {

constexpr auto usage =
    "usage: ebb-test-s3 --bucket BUCKET --access-key KEY --secret-key SECRET [--listen 127.0.0.1:0] "
    "[--folder FOLDER]\n"
    "         [--region us-east-1] [--domain localhost] [--latency-ms N] [--if-match "
    "either|quoted|unquoted]\n"
    "         [--faults FILE] [--no-delete-key KEY:SECRET] [--bucket-rules told|forbidden|not-implemented]\n"
    "         [--certificate FILE --key FILE]\n";

struct Arguments {
  ServerOptions options;
  FaultPlan faults;
  std::string certificate, key;  // PEM files; empty: without TLS
};

Result<IfMatchTags> parse_if_match(const std::string& text) {
  if (text == "either") return IfMatchTags::either;
  if (text == "quoted") return IfMatchTags::quoted;
  if (text == "unquoted") return IfMatchTags::unquoted;
  return fail(Code::invalid, "--if-match is either, quoted or unquoted, not '{}'", text);
}

Result<BucketRules> parse_bucket_rules(const std::string& text) {
  if (text == "told") return BucketRules::told;
  if (text == "forbidden") return BucketRules::forbidden;
  if (text == "not-implemented") return BucketRules::not_implemented;
  return fail(Code::invalid, "--bucket-rules are told, forbidden or not-implemented, not '{}'", text);
}

// A second key, for who may do anything but delete.
Result<KnownKey> parse_no_delete_key(const std::string& text) {
  auto colon = text.find(':');
  if (colon == 0 || colon == text.npos || colon + 1 == text.size())
    return fail(Code::invalid, "--no-delete-key is KEY:SECRET, not '{}'", text);
  return KnownKey{text.substr(0, colon), text.substr(colon + 1), {}, false};
}

Result<FaultPlan> read_faults(const std::string& path) {
  std::ifstream file(path);
  if (!file) return fail(Code::not_found, "cannot read {}", path);
  std::ostringstream text;
  text << file.rdbuf();
  return parse_faults(text.str());
}

Result<Arguments> parse(const std::vector<std::string>& words) {
  Arguments out;
  out.options.key.region = "us-east-1";
  std::map<std::string, std::string*> texts{{"--listen", &out.options.listen},
                                            {"--bucket", &out.options.bucket},
                                            {"--access-key", &out.options.key.access_key},
                                            {"--secret-key", &out.options.key.secret_key},
                                            {"--region", &out.options.key.region},
                                            {"--domain", &out.options.domain},
                                            {"--folder", &out.options.folder},
                                            {"--certificate", &out.certificate},
                                            {"--key", &out.key}};
  for (std::size_t i = 0; i < words.size(); i += 2) {
    const auto& name = words[i];
    if (i + 1 == words.size()) return fail(Code::invalid, "{} needs a value", name);
    const auto& value = words[i + 1];
    if (auto text = texts.find(name); text != texts.end()) {
      *text->second = value;
    } else if (name == "--latency-ms") {
      EBB_TRY(latency, parse_duration(value + "ms"));
      out.options.latency = latency;
    } else if (name == "--if-match") {
      EBB_TRY(tags, parse_if_match(value));
      out.options.if_match = tags;
    } else if (name == "--bucket-rules") {
      EBB_TRY(rules, parse_bucket_rules(value));
      out.options.bucket_rules = rules;
    } else if (name == "--no-delete-key") {
      EBB_TRY(key, parse_no_delete_key(value));
      out.options.more_keys.push_back(key);
    } else if (name == "--faults") {
      EBB_TRY(faults, read_faults(value));
      out.faults = std::move(faults);
    } else {
      return fail(Code::invalid, "there is no option {}", name);
    }
  }
  for (auto& key : out.options.more_keys) key.region = out.options.key.region;
  if (out.options.bucket.empty() || out.options.key.access_key.empty() || out.options.key.secret_key.empty())
    return fail(Code::invalid, "--bucket, --access-key and --secret-key are needed");
  if (out.certificate.empty() != out.key.empty())
    return fail(Code::invalid, "--certificate and --key go together");
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  auto arguments = parse(std::vector<std::string>(argv + 1, argv + argc));
  if (!arguments) return fmt::print(stderr, "ebb-test-s3: {}\n{}", arguments.error().message, usage), 2;
  AsioLoop loop;
  SocketNetwork network(loop);
  std::unique_ptr<TlsNetwork> tls;
  if (!arguments->certificate.empty()) {
    auto made = TlsNetwork::make(network, arguments->certificate, arguments->key);
    if (!made) return fmt::print(stderr, "ebb-test-s3: {}\n", made.error()), 1;
    tls = std::move(*made);
  }
  auto server =
      S3Server::start(loop, tls ? static_cast<Network&>(*tls) : network, std::move(arguments->options));
  if (!server) return fmt::print(stderr, "ebb-test-s3: {}\n", server.error()), 1;
  (*server)->set_faults(std::move(arguments->faults));
  loop.on_signal([&](int) { loop.stop(); });
  fmt::print("listening on {}\n", (*server)->address());
  std::fflush(stdout);
  loop.run();
  return 0;
}
