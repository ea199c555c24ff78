#include "disk/nbd/testing_client.h"

namespace ebb::disk {
namespace {

using namespace nbd;
using namespace testing;

struct RequestsTest : NbdTest {};

TEST_F(RequestsTest, WhatIsWrittenIsRead) {
  for (bool is_structured : {false, true}) {
    reconnect();
    enter(is_structured);
    Bytes data(10000);
    for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i * 31 + 1);
    send(request(cmd_write, 1, 4000, 10000).raw(data));
    EXPECT_EQ(simple(1).error, nbd_ok);
    send(request(cmd_read, 2, 4000, 10000));
    if (is_structured) {
      auto read = chunk(2);
      EXPECT_EQ(read.chunk, chunk_data);
      EXPECT_EQ(load_be<std::uint64_t>(read.data), 4000u);
      EXPECT_TRUE(std::equal(data.begin(), data.end(), read.data.begin() + 8, read.data.end()));
    } else {
      EXPECT_EQ(simple(2, 10000).data, data);
    }
  }
}

TEST_F(RequestsTest, FuaFlushesAfterTheWrite) {
  enter();
  send(request(cmd_write, 1, 0, 4096, cmd_fua).raw(Bytes(4096)));
  EXPECT_EQ(simple(1).error, nbd_ok);
  EXPECT_EQ(error_of(request(cmd_trim, 2, 0, 4096, cmd_fua)), nbd_ok);
  EXPECT_EQ(error_of(request(cmd_write_zeroes, 3, 0, 8192, cmd_fua | cmd_no_hole)), nbd_ok);
  EXPECT_EQ(error_of(request(cmd_flush, 4, 0, 0, cmd_fua)), nbd_ok);
  EXPECT_EQ(memory->log, (std::vector<std::string>{"write 0 4096", "flush", "trim 0 4096", "flush",
                                                   "zero 0 8192", "flush", "flush"}));
}

TEST_F(RequestsTest, BadRequestsGetTheirErrnoAndTheConnectionLivesOn) {
  enter();
  constexpr auto end = disk_bytes;
  EXPECT_EQ(error_of(request(cmd_read, 1, end, 1)), nbd_einval);
  EXPECT_EQ(error_of(request(cmd_read, 2, end - 1, 2)), nbd_einval);
  EXPECT_EQ(error_of(request(cmd_read, 3, ~0ull, 0xffffffff)), nbd_einval);
  EXPECT_EQ(error_of(request(cmd_read, 4, 0, payload_bytes_max + 1)), nbd_einval);
  EXPECT_EQ(error_of(request(cmd_write, 5, end - 1, 2).raw(Bytes(2))), nbd_enospc);
  EXPECT_EQ(error_of(request(cmd_write, 6, ~0ull, 2).raw(Bytes(2))), nbd_enospc);
  EXPECT_EQ(error_of(request(cmd_write_zeroes, 7, end, 1)), nbd_enospc);
  EXPECT_EQ(error_of(request(cmd_trim, 8, 0, 0xffffffff)), nbd_einval);
  EXPECT_EQ(error_of(request(cmd_flush, 9, 1, 0)), nbd_einval);
  EXPECT_EQ(error_of(request(cmd_cache, 10, end, 1)), nbd_einval);
  EXPECT_EQ(error_of(request(8, 10, 4096, 0)), nbd_einval) << "resize";
  EXPECT_EQ(error_of(request(0xffff, 11, 0, 0)), nbd_einval);
  EXPECT_EQ(error_of(request(cmd_block_status, 12, 0, 1)), nbd_einval);
  EXPECT_EQ(error_of(request(cmd_read, 13, 0, 1, 0x8000)), nbd_einval);
  EXPECT_EQ(error_of(request(cmd_write_zeroes, 14, 0, 1, 32)), nbd_einval);
  EXPECT_EQ(error_of(request(cmd_trim, 14, 0, 1, cmd_no_hole)), nbd_einval);
  EXPECT_EQ(error_of(request(cmd_cache, 14, 0, 1, cmd_df)), nbd_einval);
  EXPECT_EQ(error_of(request(cmd_read, 14, 0, 1, cmd_df)), nbd_einval)
      << "not offered without structured replies";
  EXPECT_TRUE(memory->log.empty()) << "nothing reached the device";
  for (auto command : {cmd_write, cmd_trim, cmd_write_zeroes, cmd_cache})
    EXPECT_EQ(error_of(request(command, 15, 0, 0)), nbd_ok) << "nothing";
  EXPECT_EQ(error_of(request(cmd_read, 16, 0, 0)), nbd_ok);
}

TEST_F(RequestsTest, AReadOnlyExportRefusesEveryChange) {
  memory->read_only = true;
  reconnect();
  send(hello().add(option(opt_go, go_data("disk-1"))));
  EXPECT_EQ(load_be<std::uint16_t>(answer().data, 10),
            has_flags | flag_read_only | send_flush | send_fua | send_cache | can_multi_conn);
  while (answer().type != rep_ack) {
  }
  EXPECT_EQ(error_of(request(cmd_write, 1, 0, 4).raw(Bytes(4))), nbd_eperm);
  EXPECT_EQ(error_of(request(cmd_trim, 2, 0, 4096)), nbd_eperm);
  EXPECT_EQ(error_of(request(cmd_write_zeroes, 3, 0, 4096)), nbd_eperm);
  EXPECT_EQ(error_of(request(cmd_flush, 4, 0, 0)), nbd_ok);
}

TEST_F(RequestsTest, ErrorsOfTheDeviceBecomeErrnos) {
  const std::vector<std::pair<Code, std::uint32_t>> codes{{Code::unavailable, nbd_eio},
                                                          {Code::corrupt, nbd_eio},
                                                          {Code::fenced, nbd_eshutdown},
                                                          {Code::invalid, nbd_einval}};
  enter(true);
  for (auto [code, number] : codes) {
    memory->failure = Error{code, "why it failed", {}};
    send(request(cmd_read, 1, 0, 4096));
    auto read = chunk(1);
    EXPECT_EQ(read.error, number);
    EXPECT_EQ(read.chunk, chunk_error_offset);
    EXPECT_EQ(as_text(ByteView(read.data).subspan(6, 13)), "why it failed");
    EXPECT_EQ(load_be<std::uint64_t>(read.data, 19), 0u) << "where";
    send(request(cmd_write, 2, 0, 4096).raw(Bytes(4096)));
    EXPECT_EQ(chunk(2).error, number);
  }
}

TEST_F(RequestsTest, LargeRequestsAtOddPlacesTravelWhole) {
  resize(40 * MiB);
  reconnect();
  enter(true);
  Bytes data(payload_bytes_max);
  Random random(1);
  for (std::size_t i = 0; i + 8 <= data.size(); i += 8) store_le(data, i, random.next());
  send(request(cmd_write, 1, 4097, payload_bytes_max).raw(data));
  EXPECT_EQ(simple(1).error, nbd_ok);
  send(request(cmd_read, 2, 4097, payload_bytes_max, cmd_df));
  auto read = chunk(2);
  EXPECT_TRUE(std::equal(data.begin(), data.end(), read.data.begin() + 8, read.data.end()));
  send(request(cmd_read, 3, 4097, payload_bytes_max));
  Bytes assembled(payload_bytes_max);
  for (const auto& piece : chunks(3)) {
    if (piece.chunk == chunk_none) break;
    ASSERT_EQ(piece.chunk, chunk_data);
    auto at = load_be<std::uint64_t>(piece.data) - 4097;
    std::copy(piece.data.begin() + 8, piece.data.end(), assembled.begin() + static_cast<std::ptrdiff_t>(at));
  }
  EXPECT_TRUE(assembled == data);
  send(request(cmd_read, 4, 0, payload_bytes_max + 1));
  EXPECT_EQ(chunk(4).error, nbd_eoverflow);
}

TEST_F(RequestsTest, AWriteThatIsTooLongIsSkippedAndRefused) {
  enter();
  send(request(cmd_write, 1, 0, payload_bytes_max + 1).raw(Bytes(payload_bytes_max + 1)));
  EXPECT_EQ(simple(1).error, nbd_einval);
  EXPECT_EQ(error_of(request(cmd_flush, 2, 0, 0)), nbd_ok);
  EXPECT_EQ(memory->log, std::vector<std::string>{"flush"});
}

TEST_F(RequestsTest, AFlushCoversWhatWasAnsweredOnAnyConnection) {
  memory->keep_durable = true;
  enter();
  auto second = connect();
  turn_to(second);
  enter();
  turn_to(second);
  EXPECT_EQ(error_of(request(cmd_write, 1, 10, 4096).raw(Bytes(4096, std::byte{7}))), nbd_ok);
  EXPECT_TRUE(memory->durable.empty());
  turn_to(second);
  send(request(cmd_read, 2, 10, 4096));
  EXPECT_EQ(simple(2, 4096).data, Bytes(4096, std::byte{7})) << "seen at once";
  EXPECT_EQ(error_of(request(cmd_flush, 3, 0, 0)), nbd_ok);
  EXPECT_EQ(memory->durable[10], std::byte{7});
  EXPECT_EQ(memory->durable[4105], std::byte{7});
  EXPECT_EQ(error_of(request(cmd_write, 4, 0, 1, cmd_fua).raw(Bytes(1, std::byte{8}))), nbd_ok);
  EXPECT_EQ(memory->durable[0], std::byte{8});
}

TEST_F(RequestsTest, ZeroesAreFastOnlyWhereTheyCostLessThanData) {
  enter();
  send(request(cmd_write, 1, 0, 65536).raw(Bytes(65536, std::byte{1})));
  EXPECT_EQ(simple(1).error, nbd_ok);
  EXPECT_EQ(error_of(request(cmd_write_zeroes, 2, 1, 8190, cmd_fast_zero)), nbd_enotsup) << "no whole block";
  EXPECT_EQ(memory->data[1], std::byte{1}) << "and nothing was changed";
  EXPECT_EQ(error_of(request(cmd_write_zeroes, 3, 1, 8192, cmd_fast_zero | cmd_no_hole)), nbd_ok);
  EXPECT_EQ(memory->data[1], std::byte{0});
  memory->zeroing_is_fast = false;
  EXPECT_EQ(error_of(request(cmd_write_zeroes, 4, 0, 65536, cmd_fast_zero)), nbd_enotsup);
  EXPECT_EQ(error_of(request(cmd_write_zeroes, 5, 0, 65536)), nbd_ok) << "never without the flag";
}

TEST_F(RequestsTest, NoHoleKeepsTheSpace) {
  enter();
  EXPECT_EQ(error_of(request(cmd_write_zeroes, 1, 0, 8192, cmd_no_hole)), nbd_ok);
  EXPECT_EQ(error_of(request(cmd_write_zeroes, 2, 4096, 4096)), nbd_ok);
  EXPECT_TRUE(memory->allocated[0]);
  EXPECT_FALSE(memory->allocated[1]);
}

TEST_F(RequestsTest, CachingReadsAndChangesNothing) {
  enter(true);
  EXPECT_EQ(error_of(request(cmd_cache, 1, 100, 8192)), nbd_ok);
  EXPECT_EQ(memory->log, std::vector<std::string>{"read 0 12288"});
  memory->broken_at = 0;
  send(request(cmd_cache, 2, 0, 4096));
  EXPECT_EQ(chunk(2).error, nbd_eio);
  send(request(cmd_cache, 3, 0, payload_bytes_max + 1));
  EXPECT_EQ(chunk(3).error, nbd_eoverflow);
}

TEST_F(RequestsTest, ASealedDiskTakesNoWritesAndTellsTheClientToLeave) {
  enter();
  memory->failure = Error{Code::fenced, "disk 'disk-1' is being sealed: it takes no writes", {}};
  EXPECT_EQ(error_of(request(cmd_write, 1, 5, 3).raw(Bytes(3))), nbd_eshutdown);
  EXPECT_EQ(error_of(request(cmd_write_zeroes, 2, 0, 4096, cmd_fua)), nbd_eshutdown);
}

}  // namespace
}  // namespace ebb::disk
