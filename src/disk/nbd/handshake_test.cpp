#include "disk/nbd/testing_client.h"

namespace ebb::disk {
namespace {

using namespace nbd;
using namespace testing;

struct HandshakeTest : NbdTest {};

TEST_F(HandshakeTest, GoTellsSizeFlagsAndBlockSizes) {
  send(hello().add(option(opt_go, go_data("disk-1", {info_name, info_block_size}))));
  auto about = answer();
  EXPECT_EQ(about.type, rep_info);
  EXPECT_EQ(load_be<std::uint16_t>(about.data), info_export);
  EXPECT_EQ(load_be<std::uint64_t>(about.data, 2), disk_bytes);
  EXPECT_EQ(load_be<std::uint16_t>(about.data, 10), has_flags | send_flush | send_fua | send_trim |
                                                        send_write_zeroes | send_cache | send_fast_zero |
                                                        can_multi_conn);
  auto sizes = answer();
  EXPECT_EQ(load_be<std::uint16_t>(sizes.data), info_block_size);
  EXPECT_EQ(load_be<std::uint32_t>(sizes.data, 2), 1u);
  EXPECT_EQ(load_be<std::uint32_t>(sizes.data, 6), 4096u);
  EXPECT_EQ(load_be<std::uint32_t>(sizes.data, 10), 32u << 20);
  auto name = answer();
  EXPECT_EQ(as_text(ByteView(name.data).subspan(2)), "disk-1");
  EXPECT_EQ(answer_type(), rep_ack);
  EXPECT_EQ(error_of(request(cmd_flush, 7, 0, 0)), nbd_ok);
}

TEST_F(HandshakeTest, TheOldWayInWorksWithAndWithoutZeroes) {
  for (std::uint32_t flags : {0u, 1u, 3u}) {
    reconnect();
    send(hello(flags).add(option(opt_export_name, Wire().text("disk-1"))));
    auto about = receive(flags & 2 ? 10 : 134);
    EXPECT_EQ(load_be<std::uint64_t>(about), disk_bytes);
    EXPECT_EQ(error_of(request(cmd_flush, 7, 0, 0)), nbd_ok);
  }
  reconnect();
  send(hello().add(option(opt_export_name, Wire().text("nothing"))));
  expect_ended_alone();
}

TEST_F(HandshakeTest, OptionsAreAnsweredAndHagglingGoesOn) {
  send(hello().add(option(opt_list)));
  auto first = answer(), second = answer();
  EXPECT_EQ(first.type, rep_server);
  EXPECT_EQ(as_text(ByteView(first.data).subspan(4, 6)), "disk-1");
  EXPECT_EQ(as_text(ByteView(second.data).subspan(4, 6)), "disk-2");
  EXPECT_EQ(answer_type(), rep_ack);
  auto refused = [&](const Wire& wire) { return send(wire), answer_type(); };
  EXPECT_EQ(refused(option(opt_list, Wire().text("x"))), rep_err_invalid);
  EXPECT_EQ(refused(option(opt_structured_reply, Wire().text("x"))), rep_err_invalid);
  EXPECT_EQ(refused(option(5)), rep_err_unsup) << "TLS";
  EXPECT_EQ(refused(option(11)), rep_err_unsup) << "extended headers";
  EXPECT_EQ(refused(option(0xffffffff, Wire().text("anything"))), rep_err_unsup);
  EXPECT_EQ(refused(option(opt_go, Wire().u32(100).text("short"))), rep_err_invalid);
  EXPECT_EQ(refused(option(opt_go, Wire().u32(0xffffffff).text("short"))), rep_err_invalid);
  EXPECT_EQ(refused(option(opt_go, go_data("disk-1").text("more"))), rep_err_invalid);
  EXPECT_EQ(refused(option(opt_go, Wire().u32(0).u16(7))), rep_err_invalid);
  EXPECT_EQ(refused(option(opt_go)), rep_err_invalid);
  EXPECT_EQ(refused(option(opt_set_meta_context, context_data("disk-1", {}))), rep_err_invalid)
      << "before structured replies";
  send(option(opt_go, go_data("nothing")));
  auto unknown = answer();
  EXPECT_EQ(unknown.type, rep_err_unknown);
  EXPECT_EQ(as_text(unknown.data), "no disk 'nothing' here");
  send(option(opt_info, go_data("disk-1")));
  EXPECT_EQ(answer_type(), rep_info);
  EXPECT_EQ(answer_type(), rep_info);
  EXPECT_EQ(answer_type(), rep_ack);
  send(option(opt_abort));
  EXPECT_EQ(answer_type(), rep_ack);
  EXPECT_TRUE(ended);
}

TEST_F(HandshakeTest, MetadataContextsAreListedAndSelected) {
  send(hello().add(option(opt_structured_reply)));
  EXPECT_EQ(answer_type(), rep_ack);
  for (std::vector<std::string> queries :
       {std::vector<std::string>{}, {"base:"}, {"x:y", "base:allocation"}}) {
    send(option(opt_list_meta_context, context_data("disk-1", queries)));
    EXPECT_EQ(as_text(ByteView(answer().data).subspan(4)), "base:allocation");
    EXPECT_EQ(answer_type(), rep_ack);
  }
  send(option(opt_set_meta_context, context_data("disk-1", {"qemu:dirty-bitmap:x"})));
  EXPECT_EQ(answer_type(), rep_ack) << "none selected";
  send(option(opt_set_meta_context, context_data("nothing", {"base:allocation"})));
  EXPECT_EQ(answer_type(), rep_err_unknown);
  send(option(opt_set_meta_context, Wire().u32(0).u32(5)));
  EXPECT_EQ(answer_type(), rep_err_invalid);
}

TEST_F(HandshakeTest, AContextOfAnotherExportIsNotCarriedOver) {
  send(hello()
           .add(option(opt_structured_reply))
           .add(option(opt_set_meta_context, context_data("", {"base:allocation"}))));
  EXPECT_EQ(answer_type(), rep_ack);
  EXPECT_EQ(answer_type(), rep_meta_context);
  EXPECT_EQ(answer_type(), rep_ack);
  send(option(opt_go, go_data("disk-1")));
  while (answer().type != rep_ack) {
  }
  send(request(cmd_block_status, 1, 0, 4096));
  EXPECT_EQ(chunk(1).error, nbd_einval);
}

TEST_F(HandshakeTest, GarbageInTheHandshakeEndsThatConnectionOnly) {
  std::vector<Wire> garbage{
      Wire().u32(0xffffffff),                                 // client flags
      hello().u64(0x1234567812345678).u64(0),                 // option magic
      hello().u64(option_magic).u32(opt_go).u32(0xffffffff),  // option length
      hello().u64(option_magic).u32(99).u32((1u << 20) + 1),
      Wire().text("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
  };
  for (const auto& wire : garbage) {
    reconnect();
    send(wire);
    expect_ended_alone();
  }
}

TEST_F(HandshakeTest, ADawdlingHandshakeIsCutOff) {
  send(hello());
  loop.run(40s);
  expect_ended_alone();
}

TEST_F(HandshakeTest, AnEndlessHandshakeIsCutOff) {
  Wire many = hello();
  for (int i = 0; i < 1100; ++i) many.add(option(99));
  send(many);
  expect_ended_alone();
}

TEST_F(HandshakeTest, TheCanonicalNameAndTheDescriptionAreTold) {
  names = {"disk-1"};
  send(hello().add(option(opt_info, go_data("", {info_description, info_name}))));
  EXPECT_EQ(load_be<std::uint16_t>(answer().data), info_export);
  EXPECT_EQ(load_be<std::uint16_t>(answer().data), info_block_size);
  EXPECT_EQ(answer().data, Wire().u16(info_name).text("disk-1").bytes);
  EXPECT_EQ(answer().data, Wire().u16(info_description).text("about disk-1").bytes);
  EXPECT_EQ(answer_type(), rep_ack);
  send(option(opt_list));
  EXPECT_EQ(answer().data, Wire().u32(6).text("disk-1about disk-1").bytes);
  EXPECT_EQ(answer_type(), rep_ack);
}

TEST_F(HandshakeTest, OptionsThatAreTooLongAreSkippedAndRefused) {
  send(hello().add(option(opt_go, Wire().raw(Bytes(100'000)))).add(option(99, Wire().raw(Bytes(1 * MiB)))));
  EXPECT_EQ(answer_type(), rep_err_too_big);
  EXPECT_EQ(answer_type(), rep_err_too_big);
  send(option(opt_go, go_data(std::string(5000, 'x'))));
  EXPECT_EQ(answer_type(), rep_err_invalid) << "a name of more than 4096 bytes";
  send(option(opt_abort, Wire().raw(Bytes(100'000))));
  EXPECT_EQ(answer_type(), rep_ack) << "whatever comes with it";
  EXPECT_TRUE(ended);
}

TEST_F(HandshakeTest, NamesWithANulAreRefused) {
  send(hello().add(option(opt_go, go_data(std::string_view("disk-1\0", 7)))));
  EXPECT_EQ(answer_type(), rep_err_invalid);
}

TEST_F(HandshakeTest, ALongReasonIsCutBetweenCharacters) {
  lookup_failure = Error{Code::unavailable, std::string(4095, 'x') + "\u00e9\u00e9", {}};
  send(hello().add(option(opt_go, go_data("disk-1"))));
  auto refused = answer();
  EXPECT_EQ(refused.type, rep_err_unknown);
  EXPECT_EQ(as_text(refused.data), std::string(4095, 'x'));
}

TEST_F(HandshakeTest, AClientOfADiskThatWentElsewhereIsToldToLeave) {
  lookup_failure = Error{Code::fenced, "taken over", {}};
  send(hello().add(option(opt_go, go_data("disk-1"))));
  EXPECT_EQ(answer_type(), rep_err_shutdown);
  send(option(opt_abort));
  EXPECT_EQ(answer_type(), rep_ack);
}

TEST_F(HandshakeTest, TheLastSelectionOfContextsCountsEvenIfItFails) {
  for (const auto& last : {context_data("disk-1", {"base:"}), context_data("disk-1", {}),
                           context_data("nothing", {"base:allocation"}), Wire().u32(7)}) {
    reconnect();
    send(
        hello()
            .add(option(opt_structured_reply))
            .add(option(opt_set_meta_context, context_data("disk-1", {"base:allocation", "base:allocation"})))
            .add(option(opt_set_meta_context, last)));
    EXPECT_EQ(answer_type(), rep_ack);
    EXPECT_EQ(answer_type(), rep_meta_context) << "once";
    EXPECT_EQ(answer_type(), rep_ack);
    answer();
    send(option(opt_go, go_data("disk-1")));
    while (answer().type != rep_ack) {
    }
    send(request(cmd_block_status, 1, 0, 4096));
    EXPECT_EQ(chunk(1).error, nbd_einval);
  }
}

TEST_F(HandshakeTest, EachConnectionKeepsTheSizeItWasTold) {
  enter();
  resize(2 * MiB);
  EXPECT_EQ(error_of(request(cmd_trim, 1, 1 * MiB, 4096)), nbd_einval);
  auto grown = connect();
  turn_to(grown);
  send(hello().add(option(opt_go, go_data("disk-1"))));
  EXPECT_EQ(load_be<std::uint64_t>(answer().data, 2), 2 * MiB);
  while (answer().type != rep_ack) {
  }
  EXPECT_EQ(error_of(request(cmd_trim, 2, 1 * MiB, 4096)), nbd_ok);
  resize(512 * KiB);
  EXPECT_EQ(error_of(request(cmd_write, 3, 1 * MiB, 1).raw(Bytes(1))), nbd_enospc) << "and has shrunk";
}

}  // namespace
}  // namespace ebb::disk
