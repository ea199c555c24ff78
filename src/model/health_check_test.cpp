#include "model/health_check.h"

#include <gtest/gtest.h>

namespace ebb {
namespace {

const std::vector<Port> ports{{"web", 80}};

TEST(HealthCheck, IsWrittenInOneWord) {
  for (const std::string text : {"tcp:web", "http:web/", "http:web/healthz?deep=1", "guest-agent"}) {
    auto check = parse_health_check(text);
    ASSERT_TRUE(check) << text;
    EXPECT_EQ(to_text(*check), text);
    EXPECT_TRUE(check_health_check(*check, ports)) << text;
  }
  EXPECT_EQ(to_text(*parse_health_check("http:web")), "http:web/");
}

TEST(HealthCheck, WordsThatMeanNothingAreRefused) {
  const std::pair<std::string, std::string> cases[] = {
      {"", "is no kind of health check"}, {"icmp:web", "is no kind of health check"},
      {"tcp", "names no port"},           {"tcp:", "names no port"},
      {"http:/healthz", "names no port"}, {"guest-agent:web", "takes no port"},
  };
  for (const auto& [text, why] : cases) {
    auto check = parse_health_check(text);
    ASSERT_FALSE(check) << text;
    EXPECT_TRUE(check.error().message.contains(why)) << check.error().message;
  }
}

TEST(HealthCheck, WhatCannotBeCheckedIsRefusedWithItsField) {
  const HealthCheck good{.kind = HealthKind::http, .port = "web"};
  ASSERT_TRUE(check_health_check(good, ports));
  auto field_of = [&](std::function<void(HealthCheck&)> break_it) {
    auto check = good;
    break_it(check);
    auto status = check_health_check(check, ports);
    return status ? "" : status.error().field;
  };
  EXPECT_EQ(field_of([](auto& c) { c.port = "nosuch"; }), "spec.health.port");
  EXPECT_EQ(field_of([](auto& c) { c.port.reset(); }), "spec.health.port");
  EXPECT_EQ(field_of([](auto& c) { c.kind = HealthKind::guest_agent; }), "spec.health.port");
  EXPECT_EQ(field_of([](auto& c) { c.kind = HealthKind::tcp, c.path = "/"; }), "spec.health.path");
  EXPECT_EQ(field_of([](auto& c) { c.path = "healthz"; }), "spec.health.path");
  EXPECT_EQ(field_of([](auto& c) { c.path = "/a b"; }), "spec.health.path");
  EXPECT_EQ(field_of([](auto& c) { c.path = "/a\r\nHost: b"; }), "spec.health.path") << "a second header";
  EXPECT_EQ(field_of([](auto& c) { c.path = "/" + std::string(1024, 'a'); }), "spec.health.path");
  EXPECT_EQ(field_of([](auto& c) { c.interval_ms = 999; }), "spec.health.interval_ms");
  EXPECT_EQ(field_of([](auto& c) { c.timeout_ms = 99; }), "spec.health.timeout_ms");
  EXPECT_EQ(field_of([](auto& c) { c.failures_max = 0; }), "spec.health.failures_max");
  EXPECT_EQ(field_of([](auto& c) { c.start_grace_ms = 3'600'001; }), "spec.health.start_grace_ms");
}

}  // namespace
}  // namespace ebb
