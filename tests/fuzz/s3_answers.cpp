// What an S3 store, or a proxy before it, may answer: status (2 bytes), verb (1), condition (1), then headers
// as lines, an empty line, the body.
#include <algorithm>

#include "formats.h"
#include "metered.h"
#include "platform/s3/s3_answer.h"

namespace ebb::fuzz {
namespace {

constexpr std::size_t message_bytes_max = 4 * KiB;

CurlReply read_reply(ByteView input) {
  CurlReply reply{load_le<std::uint16_t>(input) % 1000, {}, {}};
  auto text = as_text(input.subspan(4));
  while (!text.empty()) {
    auto line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    if (line.empty()) break;
    auto colon = line.find(": ");
    if (colon != std::string_view::npos) reply.headers.emplace(line.substr(0, colon), line.substr(colon + 2));
  }
  reply.body = to_bytes(text);
  return reply;
}

bool is_fit_for_a_log(std::string_view text) {
  return text.size() <= message_bytes_max &&
         std::ranges::all_of(text, [](char c) { return c >= 0x20 && c != 0x7f; });
}

}  // namespace

Verdict check_s3_answer(ByteView input) {
  if (input.size() < 4) return Verdict::refused;
  auto reply = read_reply(input);
  S3Asked asked{static_cast<S3Asked::Verb>(std::to_integer<int>(input[2]) % 3),
                static_cast<PutCondition::Kind>(std::to_integer<int>(input[3]) % 3), "bucket", "key"};
  auto error = metered(64 * KiB + 16 * input.size(), [&] { return error_of(reply, asked); });
  CHECK(!error.message.empty() && is_fit_for_a_log(error.message));
  // "There is no such object" and "the condition does not hold" decide who owns a disk: nothing else may
  // sound so.
  auto said = read_error_body(as_text(reply.body)).code;
  bool is_missing = reply.status == 404 && said == "NoSuchKey";
  if (error.code == Code::not_found) CHECK(is_missing && asked.verb != S3Asked::Verb::put);
  if (error.code == Code::conflict) {
    CHECK(asked.condition != PutCondition::Kind::none);
    CHECK(reply.status == 412 || (is_missing && asked.condition == PutCondition::Kind::match));
  }
  if (auto wait = retry_after(reply)) CHECK(*wait >= Duration(0));
  (void)tag_of(reply);
  return said.empty() ? Verdict::refused : Verdict::accepted;
}

}  // namespace ebb::fuzz
