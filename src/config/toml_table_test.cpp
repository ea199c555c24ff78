#include "config/toml_table.h"

#include <fstream>
#include <gtest/gtest.h>

namespace ebb {
namespace {

constexpr auto example = R"(name = "worker-1"
cpus = 4
memory = "2GiB"
scratch = 4096
timeout = "90s"
quick = true
tags = ["a", "b"]

[listen]
address = "127.0.0.1:7000"

[pools.main]
url = "dir:/var/lib/pool"
[pools.spare]
url = "dir:/var/lib/spare"

[labels]
rack = "r1"
zone = "z2"
)";

TomlTable parsed(std::string text) { return TomlTable::parse(std::move(text), "ebb.toml").value(); }

TEST(TomlTable, ReadsEveryKindOfValue) {
  auto config = parsed(example);
  EXPECT_EQ(config.string("name"), "worker-1");
  EXPECT_EQ(config.integer("cpus", 1, 64), 4);
  EXPECT_EQ(config.size("memory"), 2ull << 30);
  EXPECT_EQ(config.size("scratch"), 4096u);
  EXPECT_EQ(config.duration("timeout"), Duration(90s));
  EXPECT_EQ(config.boolean("quick", false), true);
  EXPECT_EQ(config.string_list("tags"), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(config.table("listen").value().string("address"), "127.0.0.1:7000");
  auto pools = config.tables("pools").value();
  ASSERT_EQ(pools.size(), 2u);
  EXPECT_EQ(pools.at("main").string("url"), "dir:/var/lib/pool");
  EXPECT_EQ(pools.at("spare").string("url"), "dir:/var/lib/spare");
  EXPECT_EQ(config.string_map("labels"),
            (std::map<std::string, std::string>{{"rack", "r1"}, {"zone", "z2"}}));
  EXPECT_TRUE(config.finish());
}

TEST(TomlTable, WhatIsAbsentTakesItsFallback) {
  auto config = parsed("");
  EXPECT_EQ(config.string("a", "x"), "x");
  EXPECT_EQ(config.integer("b", 0, 9, 5), 5);
  EXPECT_EQ(config.size("c", 7), 7u);
  EXPECT_EQ(config.duration("d", 3s), Duration(3s));
  EXPECT_EQ(config.boolean("e", true), true);
  EXPECT_EQ(config.string_list("f").value().size(), 0u);
  EXPECT_EQ(config.table("g").value().string("h", "i"), "i");
  EXPECT_EQ(config.tables("j").value().size(), 0u);
  EXPECT_TRUE(config.finish());
}

void expect_error(const std::string& message, std::vector<std::string> parts) {
  for (const auto& part : parts)
    EXPECT_NE(message.find(part), std::string::npos) << "'" << part << "' in: " << message;
}

TEST(TomlTable, ErrorsNameFileLineAndKey) {
  auto config = parsed("a = 1\n\nb = \"nonsense\"\n[t]\nc = [1]\nd = \"x\"\n");
  expect_error(config.string("a").error().message, {"ebb.toml:1", ": a: ", "must be a string"});
  expect_error(config.integer("a", 5, 9).error().message, {"ebb.toml:1", "from 5 to 9"});
  expect_error(config.size("b").error().message, {"ebb.toml:3", ": b: "});
  expect_error(config.duration("b").error().message, {"ebb.toml:3", ": b: "});
  expect_error(config.boolean("a", false).error().message, {"ebb.toml:1", "true or false"});
  expect_error(config.string("missing").error().message, {"ebb.toml", "missing", "required"});
  auto table = config.table("t").value();
  expect_error(table.string_list("c").error().message, {"ebb.toml:5", "t.c"});
  expect_error(table.string("missing").error().message, {"ebb.toml:4", "t.missing", "required"});
  expect_error(table.wrong("d", "is taken").error().message, {"ebb.toml:6", "t.d: is taken"});
  EXPECT_EQ(table.string("missing").error().field, "t.missing");
  EXPECT_EQ(table.string("missing").error().code, Code::invalid);
  expect_error(config.table("a").error().message, {"ebb.toml:1", "must be a table"});
  expect_error(config.tables("a").error().message, {"must be a table"});
}

TEST(TomlTable, UnknownKeysAreRefusedWithTheNearestKnownOne) {
  auto config = parsed("address = \"x\"\ntimeuot = \"5s\"\n");
  ASSERT_TRUE(config.string("address"));
  ASSERT_TRUE(config.duration("timeout", 1s));
  auto finished = config.finish();
  ASSERT_FALSE(finished);
  expect_error(finished.error().message, {"ebb.toml:2", "timeuot", "unknown key", "did you mean 'timeout'?"});
  EXPECT_EQ(finished.error().field, "timeuot");
}

TEST(TomlTable, UnknownKeysBelowAreFoundToo) {
  auto config = parsed("[pools.main]\nurl = \"x\"\ncolour = 1\n");
  for (auto& [name, pool] : config.tables("pools").value()) ASSERT_TRUE(pool.string("url"));
  expect_error(config.finish().error().message, {"ebb.toml:3", "pools.main.colour", "known are: url"});
  expect_error(parsed("[never.asked]\nx = 1\n").finish().error().message, {"never", "unknown key"});
}

TEST(TomlTable, BrokenFilesAreRefusedWithTheLine) {
  auto broken = TomlTable::parse("a = 1\nb = \n", "ebb.toml");
  ASSERT_FALSE(broken);
  expect_error(broken.error().message, {"ebb.toml:2"});
  EXPECT_EQ(TomlTable::parse("a = 1\na = 2\n", "ebb.toml").error().code, Code::invalid);
}

TEST(TomlTable, LoadsFiles) {
  const auto path = ::testing::TempDir() + "ebb-toml-table-test.toml";
  std::remove(path.c_str());
  EXPECT_EQ(TomlTable::load(path).error().code, Code::not_found);
  std::ofstream(path) << example;
  EXPECT_EQ(TomlTable::load(path).value().string("name"), "worker-1");
  std::remove(path.c_str());
}

}  // namespace
}  // namespace ebb
