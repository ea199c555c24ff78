// A real S3 server for tests: one bucket or more, objects in memory or in a folder, Signature Version 4
// verified, and faults on command. It runs on one event loop; hashes of large bodies are computed on the
// loop's threads.
#pragma once
#include "env/scope.h"
#include "env/stream.h"
#include "s3_faults.h"
#include "s3_objects.h"
#include "s3_reply.h"
#include "sigv4_check.h"

namespace ebb::s3test {

// What is told of a bucket's own rules (lifecycle, replication).
enum class BucketRules { told, forbidden, not_implemented };

struct ServerOptions {
  std::string listen = "127.0.0.1:0";
  std::string bucket;  // made at the start
  KnownKey key;
  std::vector<KnownKey> more_keys;
  std::string domain = "localhost";  // of host-style addresses: BUCKET.domain
  std::string folder;                // "": objects in memory
  Duration latency{};                // of every request
  IfMatchTags if_match = IfMatchTags::either;
  BucketRules bucket_rules = BucketRules::told;
};

struct Stats {
  std::map<std::string, std::uint64_t> requests;          // by method
  std::map<std::string, std::uint64_t> requests_of_keys;  // by "KEY METHOD"
  std::map<std::string, std::uint64_t> statuses;          // of replies that were sent
  std::map<std::string, std::uint64_t> faults;
  std::uint64_t conditional_puts = 0;
  std::uint64_t bytes_in = 0, bytes_out = 0;  // of bodies
  std::uint64_t connections = 0, connections_open = 0;
  std::uint64_t in_flight = 0, in_flight_max = 0;
  std::uint64_t objects = 0;
};
BOOST_DESCRIBE_STRUCT(Stats, (),
                      (requests, requests_of_keys, statuses, faults, conditional_puts, bytes_in, bytes_out,
                       connections, connections_open, in_flight, in_flight_max, objects))

class S3Server final {
 public:
  static Result<std::unique_ptr<S3Server>> start(AsioLoop& loop, Network& network, ServerOptions options);
  S3Server(const S3Server&) = delete;
  ~S3Server();
  const std::string& address() const { return address_; }
  void set_faults(FaultPlan plan);

 private:
  struct Connection;
  S3Server(AsioLoop& loop, Network& network, ServerOptions options);
  Status listen(std::string address);
  void refuse_for(Duration time);

  Task<void> serve(std::unique_ptr<Stream> stream);
  Task<std::optional<Request>> read_request(Connection* connection);
  Task<bool> read_body(Connection* connection, Request* request);
  Task<bool> answer(Connection* connection, const Request* request);
  Task<bool> send(Connection* connection, Reply reply, const Request* request, Mishap mishap);

  Reply control(const Request& request);
  Task<Reply> carry_out(const Request* request, Mishap mishap);
  Reply carry_out_bucket(const Request& request);
  Reply rules_of_bucket(const Request& request);
  Reply list(const Request& request);
  Task<Reply> put(const Request* request, Mishap mishap);
  Task<Reply> get(const Request* request, Mishap mishap);
  Reply remove(const Request& request, Mishap mishap);

  AsioLoop& loop_;
  Network& network_;
  const ServerOptions options_;
  std::unique_ptr<Objects> objects_;
  std::vector<KnownKey> keys_;
  std::map<std::string, std::string> rules_;  // XML by "lifecycle/BUCKET" and "replication/BUCKET"
  Faults faults_;
  Stats stats_;
  std::uint64_t requests_ = 0;
  std::string address_;
  std::optional<std::uint64_t> listen_again_;  // timer
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  std::unique_ptr<Listener> listener_;  // last: its connections end before what they use
};

}  // namespace ebb::s3test
