// What our S3 test server does wrong on command. The plan is JSON (PUT /-/faults); the same seed and the same
// requests in the same order give the same faults.
#pragma once
#include "base/json.h"
#include "base/random.h"
#include "base/time.h"

namespace ebb::s3test {

enum class Fault {
  latency,             // `ms` plus up to `jitter_ms` before the request is carried out; adds to other faults
  slow_down,           // 503 SlowDown, not carried out
  internal_error,      // 500 InternalError, not carried out
  conflict,            // 409 ConditionalRequestConflict, not carried out
  cut_body,            // the reply's head promises the body, half of it comes, the connection closes
  close_before,        // the connection closes, not carried out
  lost_reply,          // carried out, then the connection closes without a reply
  false_precondition,  // carried out, then 412 PreconditionFailed
  false_error,         // carried out, then 500 InternalError
  ignore_conditions,   // If-Match and If-None-Match are not looked at: a store that is wrong
  stale_read,          // the version before the current one, or none if there was none
  hang,                // accepted, never answered, not carried out
  wrong_range,         // Range is ignored: 200 and the whole object
};
BOOST_DESCRIBE_ENUM(Fault, latency, slow_down, internal_error, conflict, cut_body, close_before, lost_reply,
                    false_precondition, false_error, ignore_conditions, stale_read, hang, wrong_range)

struct FaultRule {
  Fault fault = Fault::latency;
  std::string method;       // "": any
  std::string prefix;       // of the key
  double probability = 1;   // of a request that matches
  std::uint64_t count = 0;  // only the next so many faults; 0: no end
  std::uint64_t ms = 0, jitter_ms = 0;
};
BOOST_DESCRIBE_STRUCT(FaultRule, (), (fault, method, prefix, probability, count, ms, jitter_ms))

struct FaultPlan {
  std::uint64_t seed = 1;
  std::vector<FaultRule> rules;  // of those that match, all latencies and the first other one happen
  std::uint64_t refuse_ms = 0;   // close all connections and refuse new ones for so long, beginning now
};
BOOST_DESCRIBE_STRUCT(FaultPlan, (), (seed, rules, refuse_ms))

Result<FaultPlan> parse_faults(std::string_view json);

struct Mishap {
  Duration latency{};
  std::optional<Fault> fault;
  bool is(Fault which) const { return fault == which; }
};

class Faults final {
 public:
  void set(FaultPlan plan);
  const FaultPlan& plan() const { return plan_; }
  Mishap draw(std::string_view method, std::string_view key);

 private:
  FaultPlan plan_;
  Random random_{1};
};

}  // namespace ebb::s3test
