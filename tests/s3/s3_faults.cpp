#include "s3_faults.h"

namespace ebb::s3test {

Result<FaultPlan> parse_faults(std::string_view json) {
  EBB_TRY(plan, json::read_text<FaultPlan>(json));
  for (const auto& rule : plan.rules) {
    if (rule.probability < 0 || rule.probability > 1)
      return fail_field("probability", "{} is no probability from 0 to 1", rule.probability);
  }
  return plan;
}

void Faults::set(FaultPlan plan) {
  plan_ = std::move(plan);
  random_ = Random(plan_.seed);
}

Mishap Faults::draw(std::string_view method, std::string_view key) {
  Mishap mishap;
  for (auto& rule : plan_.rules) {
    bool matches = (rule.method.empty() || rule.method == method) && key.starts_with(rule.prefix);
    bool takes_turn = rule.fault == Fault::latency || !mishap.fault;
    if (!matches || !takes_turn || !random_.chance(rule.probability)) continue;
    if (rule.fault == Fault::latency) {
      auto jitter = rule.jitter_ms ? random_.below(rule.jitter_ms * 1'000'000 + 1) : 0;
      mishap.latency += std::chrono::milliseconds(rule.ms) + std::chrono::nanoseconds(jitter);
    } else {
      mishap.fault = rule.fault;
    }
    // 0 means no end, so a rule that has had its last turn is taken out below.
    if (rule.count > 0 && --rule.count == 0) rule.probability = 0, rule.count = 1;
  }
  std::erase_if(plan_.rules, [](const FaultRule& rule) { return rule.count > 0 && rule.probability == 0; });
  return mishap;
}

}  // namespace ebb::s3test
