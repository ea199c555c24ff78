#include <gtest/gtest.h>

#include "base/base64.h"
#include "base/checksum.h"
#include "base/json.h"
#include "base/random.h"
#include "base/sha256.h"
#include "base/text.h"

namespace ebb {
namespace {

enum class Colour { red, green };
BOOST_DESCRIBE_ENUM(Colour, red, green)
struct Inner {
  std::uint32_t size = 7;
  std::optional<std::string> note;
  bool operator==(const Inner&) const = default;
};
BOOST_DESCRIBE_STRUCT(Inner, (), (size, note))
struct Outer {
  WorkerId id;
  Colour colour = Colour::red;
  std::vector<Inner> parts;
  std::map<std::string, std::string> labels;
  bool operator==(const Outer&) const = default;
};
BOOST_DESCRIBE_STRUCT(Outer, (), (id, colour, parts, labels))

// RFC 4648, section 10.
TEST(Base64, AsTheStandardHasIt) {
  const std::pair<std::string, std::string> vectors[] = {{"", ""},
                                                         {"f", "Zg=="},
                                                         {"fo", "Zm8="},
                                                         {"foo", "Zm9v"},
                                                         {"foob", "Zm9vYg=="},
                                                         {"fooba", "Zm9vYmE="},
                                                         {"foobar", "Zm9vYmFy"}};
  for (const auto& [bytes, text] : vectors) {
    EXPECT_EQ(to_base64(bytes), text);
    EXPECT_EQ(from_base64(text), bytes);
  }
  std::string all;
  for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
  EXPECT_EQ(from_base64(to_base64(all)), all);
  for (const auto* bad :
       {"Z", "Zg", "Zg=", "Zg==\n", " Zg==", "Zh==", "Zg==Zg==", "Z!==", "====", "Zm9v\n", "=", "A==="})
    EXPECT_FALSE(from_base64(bad)) << bad;
}

TEST(Json, WhatIsWrittenIsReadBack) {
  Outer value{WorkerId("w1"), Colour::green, {{1, "x"}, {2, std::nullopt}}, {{"zone", "a"}}};
  auto back = json::read_text<Outer>(json::write_text(value));
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(*back, value);
}

TEST(Json, ErrorsNameTheField) {
  auto field = [](std::string_view text) { return json::read_text<Outer>(text).error().field; };
  EXPECT_EQ(field(R"({"parts":[{},{"size":-1}]})"), "parts[1].size");
  EXPECT_EQ(field(R"({"parts":[{"size":"1"}]})"), "parts[0].size");
  EXPECT_EQ(field(R"({"parts":[{"sise":1}]})"), "parts[0].sise");
  EXPECT_EQ(field(R"({"colour":"blue"})"), "colour");
  EXPECT_EQ(field(R"({"labels":{"zone":1}})"), "labels.zone");
  EXPECT_EQ(field(R"({"parts":[{"size":5000000000}]})"), "parts[0].size");
}

TEST(Json, MalformedAndOversizedAreRefused) {
  for (auto text : {"", "{", "{}x", "[1,]", "nul", "\"\xff\""}) EXPECT_FALSE(json::parse(text)) << text;
  EXPECT_FALSE(json::parse(std::string(100, '[')));
  EXPECT_FALSE(json::parse("[1,2,3]", 3));
  EXPECT_TRUE(json::parse(" {} \n"));
}

TEST(Checksum, Crc32cMatchesThePublishedVectors) {  // RFC 3720 B.4
  Bytes zeros(32), ones(32, std::byte{0xff});
  EXPECT_EQ(crc32c(zeros), 0x8a9136aau);
  EXPECT_EQ(crc32c(ones), 0x62a8ab43u);
  EXPECT_EQ(crc32c(as_bytes("123456789")), 0xe3069283u);
  EXPECT_EQ(crc32c(as_bytes("56789"), crc32c(as_bytes("1234"))), 0xe3069283u);
}

TEST(Checksum, Sha256MatchesThePublishedVector) {  // FIPS 180-4, "abc"
  Sha256 sum;
  sum.add(as_bytes("a")), sum.add(as_bytes("bc"));
  EXPECT_EQ(sum.hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Text, SizesAndDurations) {
  EXPECT_EQ(*parse_size("128M"), 128 * 1024 * 1024u);
  EXPECT_EQ(*parse_size("1.5GiB"), 1536ull * 1024 * 1024);
  EXPECT_FALSE(parse_size("12 parsecs"));
  EXPECT_FALSE(parse_size("-1"));
  EXPECT_EQ(format_size(134217728), "128 MiB");
  EXPECT_EQ(*parse_duration("90s"), 90s);
  EXPECT_EQ(*parse_duration("500ms"), 500ms);
  EXPECT_FALSE(parse_duration("soon"));
  EXPECT_EQ(format_duration(754s), "12m34s");
  EXPECT_EQ(format_time(0), "1970-01-01T00:00:00Z");
}

TEST(Text, NamesAreDnsLabels) {
  EXPECT_TRUE(is_valid_name("worker-17"));
  for (auto bad : {"", "-a", "a-", "A", "a_b", "a/b", "a.b"}) EXPECT_FALSE(is_valid_name(bad)) << bad;
  EXPECT_FALSE(is_valid_name(std::string(64, 'a')));
}

TEST(Random, TheSameSeedGivesTheSameNumbers) {
  Random a(1), b(1), c(2);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(a.next(), b.next());
  EXPECT_NE(a.next(), c.next());
  for (int i = 0; i < 1000; ++i) EXPECT_LT(a.below(7), 7u);
}

}  // namespace
}  // namespace ebb
