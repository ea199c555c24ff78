// `ebb images import`: files are looked at before anything is sent, chunks are sent in order, half an image
// is not left.
#include <gtest/gtest.h>

#include "base/text.h"
#include "cli/image_file.h"
#include "fake_world.h"
#include "kernel_file.h"

namespace ebb {
namespace {

using fake::refuse;
using fake::reply;

// A raw disk of `bytes` with an ext4 superblock of `blocks` blocks of 1 KiB.
std::string ext4_of(std::size_t bytes, std::uint32_t blocks) {
  Bytes disk(bytes);
  store_le<std::uint32_t>(disk, 1024 + 4, blocks);
  store_le<std::uint16_t>(disk, 1024 + 56, 0xEF53);
  return std::string(as_text(disk));
}

struct ImportTest : testing::Test {
  fake::World world;
  std::map<std::string, std::string> received;  // by part
  std::vector<std::string> calls;
  std::function<std::optional<HttpResponse>(const HttpRequest&)> trouble = [](const HttpRequest&) {
    return std::nullopt;
  };
  CreateImage announced;

  ImportTest() {
    world.files.content["/vmlinux"] = kernel_of(9 * MiB);
    world.files.content["/initrd"] = "cpio";
    world.files.content["/disk"] = ext4_of(64 * 1024, 64);
    world.http.handler = [this](const HttpRequest& request) { return answer(request); };
  }
  HttpResponse answer(const HttpRequest& request) {
    calls.push_back(request.method + " " + request.target);
    if (auto failed = trouble(request)) return *failed;
    Image image;
    image.id = ImageId("witness");
    if (request.method == "PUT") {
      auto parts = split(request.target, '/');
      auto part_and_offset = split(parts.back(), '?');
      auto& part = received[std::string(part_and_offset[0])];
      const auto where = fmt::format("offset={}", part.size());
      const auto zeroes = part_and_offset[1].find("&zeroes=");
      EXPECT_EQ(part_and_offset[1].substr(0, zeroes), where) << "chunks follow each other without a gap";
      EXPECT_EQ(zeroes == std::string_view::npos, !request.body.empty());
      part += request.body;
      if (request.body.empty())
        part += std::string(std::stoull(std::string(part_and_offset[1].substr(zeroes + 8))), '\0');
      return HttpResponse{204, {}, "", {}};
    }
    if (request.target == "/v1/images") announced = json::read_text<CreateImage>(request.body).value();
    if (request.target.ends_with(":seal")) image.state = ImageState::ready;
    return reply(image, request.target == "/v1/images" ? 201 : 200);
  }
  int import(std::vector<std::string> more = {}) {
    std::vector<std::string> args{"images", "import", "witness", "--kernel", "/vmlinux"};
    args.insert(args.end(), more.begin(), more.end());
    return world.ebb(args);
  }
  // Refused with a sentence that holds `why`, before a byte is sent.
  void expect_refused(const std::string& why, std::vector<std::string> more = {}) {
    EXPECT_EQ(import(std::move(more)), 2) << why;
    EXPECT_NE(world.screen.talk.find(why), std::string::npos) << world.screen.talk;
    EXPECT_TRUE(calls.empty()) << calls.front();
  }
};

TEST_F(ImportTest, SendsEveryPartInChunksAndSeals) {
  EXPECT_EQ(import({"--initrd", "/initrd", "--disk", "/disk", "--cmdline", "quiet panic=-1", "--channel",
                    "report", "--channel", "log"}),
            0)
      << world.screen.talk;
  EXPECT_EQ(received.at("kernel"), world.files.content["/vmlinux"]);
  EXPECT_EQ(received.at("initrd"), "cpio");
  EXPECT_EQ(received.at("disk"), world.files.content["/disk"]);
  EXPECT_EQ(announced.kernel_bytes, world.files.content["/vmlinux"].size());
  EXPECT_EQ(announced.initrd_sha256, "efa07b188d2a6f7ac05283c22c18694478bfd55e4d4929cee3e76fcb2c62116b");
  EXPECT_EQ(announced.cmdline, "quiet panic=-1");
  EXPECT_EQ(announced.channels, (std::vector<std::string>{"report", "log"}));
  EXPECT_EQ(calls.front(), "POST /v1/images");
  EXPECT_EQ(calls[2], "PUT /v1/images/witness/kernel?offset=4194304");
  EXPECT_EQ(calls.back(), "POST /v1/images/witness:seal");
  EXPECT_NE(world.screen.data.find("ready"), std::string::npos);
  EXPECT_EQ(world.screen.talk, "") << "no progress bar in a pipe";
}

TEST_F(ImportTest, TheEmptyPartsOfADiskAreCountedAndNotSent) {
  auto disk = ext4_of(150 * MiB, 150 * 1024);
  disk[140 * MiB] = 'x';
  world.files.content["/disk"] = disk;
  EXPECT_EQ(import({"--disk", "/disk"}), 0) << world.screen.talk;
  EXPECT_TRUE(received.at("disk") == disk);
  std::vector<std::string> pieces;
  for (const auto& call : calls)
    if (call.contains("/disk?")) pieces.push_back(call.substr(call.find('?') + 1));
  EXPECT_EQ(pieces,
            (std::vector<std::string>{"offset=0", "offset=4194304&zeroes=67108864",
                                      "offset=71303168&zeroes=67108864", "offset=138412032&zeroes=8388608",
                                      "offset=146800640", "offset=150994944&zeroes=6291456"}));
}

TEST_F(ImportTest, ShowsABarOnATerminalAndTakesItAway) {
  world.screen.talk_is_terminal = true;
  EXPECT_EQ(import(), 0);
  EXPECT_NE(world.screen.talk.find("uploading [####"), std::string::npos) << world.screen.talk;
  EXPECT_TRUE(world.screen.talk.ends_with("\x1b[J"));
}

TEST_F(ImportTest, ATruncatedKernelIsRefusedBeforeAByteIsSent) {
  auto whole = world.files.content["/vmlinux"];
  world.files.content["/vmlinux"] = whole.substr(0, whole.size() - 1);
  expect_refused("/vmlinux is truncated");
  world.files.content["/vmlinux"] = whole.substr(0, 100);
  expect_refused("/vmlinux is truncated: its program headers end at byte 120, the file at 100");
  world.files.content["/vmlinux"] = "MZ bzImage";
  expect_refused("is not an ELF kernel: give the unpacked vmlinux, not a bzImage");
  world.files.content["/vmlinux"] = "";
  expect_refused("/vmlinux is empty");
  world.files.content.erase("/vmlinux");
  expect_refused("cannot open /vmlinux");
  whole[18] = 3;  // i386
  world.files.content["/vmlinux"] = whole;
  expect_refused("is not a 64-bit x86 kernel");
}

TEST_F(ImportTest, AKernelWhoseHeadersOverflowIsTruncatedAndNotACrash) {
  auto& kernel = world.files.content["/vmlinux"];
  for (std::size_t at : {32, 72, 96}) {
    auto broken = to_bytes(kernel);
    store_le<std::uint64_t>(broken, at, ~std::uint64_t{0} - 7);
    auto whole = std::exchange(kernel, std::string(as_text(broken)));
    expect_refused("is truncated");
    kernel = whole;
  }
}

TEST_F(ImportTest, ATruncatedOrForeignDiskIsRefused) {
  world.files.content["/disk"] = ext4_of(64 * 1024, 65);
  expect_refused("/disk is truncated: its file system has 65 blocks of 1024 bytes, the file only 64 KiB",
                 {"--disk", "/disk"});
  world.files.content["/disk"] = std::string(4097, 'x');
  expect_refused("4097 bytes, which is not a multiple of 4096", {"--disk", "/disk"});
  world.files.content["/disk"] = "QFI\xfb" + std::string(4092, '\0');
  expect_refused("is a qcow2 image", {"--disk", "/disk"});
}

TEST_F(ImportTest, ADiskWithoutAFileSystemIsFine) {
  world.files.content["/disk"] = std::string(8192, 'x');
  EXPECT_EQ(import({"--disk", "/disk"}), 0) << world.screen.talk;
}

TEST_F(ImportTest, AnImageThatCannotBeSealedIsRemovedAndTheReasonGiven) {
  trouble = [](const HttpRequest& request) -> std::optional<HttpResponse> {
    if (request.target.ends_with(":seal")) return refuse(400, "invalid", "the kernel's checksum is wrong");
    if (request.method == "DELETE") return refuse(404, "not_found", "it is gone");
    return std::nullopt;
  };
  EXPECT_EQ(import(), 2);
  EXPECT_EQ(world.screen.talk, "ebb: the kernel's checksum is wrong\n");
  EXPECT_EQ(calls.back(), "DELETE /v1/images/witness");
}

TEST_F(ImportTest, ANameThatExistsIsAConflictAndRemovesNothing) {
  trouble = [](const HttpRequest&) { return refuse(409, "conflict", "image 'witness' exists"); };
  EXPECT_EQ(import(), 6);
  EXPECT_EQ(calls, (std::vector<std::string>{"POST /v1/images"}));
}

TEST_F(ImportTest, AChunkIsSentAgainWhenTheControlPlaneRestarts) {
  int outages = 2;
  trouble = [&](const HttpRequest& request) -> std::optional<HttpResponse> {
    if (request.target.ends_with("offset=4194304") && outages-- > 0)
      return refuse(503, "unavailable", "restarting");
    return std::nullopt;
  };
  EXPECT_EQ(import(), 0);
  EXPECT_EQ(received.at("kernel"), world.files.content["/vmlinux"]);
}

TEST(ImageFile, ItsChecksumIsTheSha256OfItsBytes) {
  fake::World world;
  world.files.content["/abc"] = "abc";  // FIPS 180-2, appendix B.1
  auto file = world.await(open_image_file(world.files, "/abc"));
  ASSERT_TRUE(file);
  std::uint64_t hashed = 0;
  ASSERT_TRUE(world.await(hash_image_file(*file, [&](std::uint64_t bytes) { hashed += bytes; })));
  EXPECT_EQ(file->sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(hashed, 3u);
}

}  // namespace
}  // namespace ebb
