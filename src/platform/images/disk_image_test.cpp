#include "platform/images/disk_image.h"

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "base/sha256.h"
#include "platform/asio_offload.h"
#include "platform/real_env.h"
#include "platform/test_folder.h"

namespace ebb {
namespace {

constexpr std::uint64_t image_bytes = 8 * MiB;

class DiskImageTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(std::system("qemu-img --version > /dev/null 2>&1"), 0) << "./dev setup installs qemu-utils";
    std::filesystem::create_directory(folder_ / "made");
  }
  void TearDown() override {
    EXPECT_TRUE(std::filesystem::is_empty(folder_ / "made")) << "something is left behind";
  }

  void shell(const std::string& command) {
    ASSERT_EQ(std::system(fmt::format("cd '{}' && {} > /dev/null 2>&1", folder_.path(), command).c_str()), 0)
        << command;
  }
  // A raw file with a pattern in its first and last MiB, and the same as qcow2.
  void make_image() {
    std::ofstream raw(folder_ / "disk.raw", std::ios::binary);
    for (std::uint64_t at : {std::uint64_t{0}, image_bytes - MiB}) {
      raw.seekp(static_cast<std::streamoff>(at));
      for (std::uint64_t i = 0; i < MiB; ++i) raw.put(static_cast<char>(i * 7 + at / MiB));
    }
    raw.close();
    shell("qemu-img convert -f raw -O qcow2 disk.raw disk.qcow2");
  }
  Result<RawDisk> fetch(const std::string& source, const std::string& sha256 = {}) {
    DiskImageFetcher images(env_.loop, threads_, folder_ / "made");
    ImageSource from{source.contains("://") ? source : folder_ / source, sha256, GiB};
    return run_until_done(env_.loop, images.fetch(std::move(from), [](auto...) {}));
  }
  void expect_refused(const std::string& source, std::string_view why, const std::string& sha256 = {}) {
    auto fetched = fetch(source, sha256);
    ASSERT_FALSE(fetched) << source;
    EXPECT_EQ(fetched.error().code, Code::invalid);
    EXPECT_TRUE(fetched.error().message.contains(why)) << fetched.error().message;
  }
  static std::string content(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  TestFolder folder_;
  RealEnv env_;
  AsioOffload threads_{env_.loop};
};

TEST_F(DiskImageTest, AQcow2ImageIsMadeRawAndSparse) {
  make_image();
  auto fetched = fetch("disk.qcow2");
  ASSERT_TRUE(fetched) << fetched.error().message;
  EXPECT_EQ(content(fetched->path), content(folder_ / "disk.raw"));
  struct stat info{};
  ASSERT_EQ(stat(fetched->path.c_str(), &info), 0);
  EXPECT_LT(info.st_blocks * 512, 4 * static_cast<long>(MiB)) << "what is empty takes no room";
}

TEST_F(DiskImageTest, ARawFileIsTakenAsItIs) {
  make_image();
  auto fetched = fetch("disk.raw");
  ASSERT_TRUE(fetched) << fetched.error().message;
  EXPECT_EQ(fetched->path, folder_ / "disk.raw");
}

TEST_F(DiskImageTest, AnImageThatNeedsAnotherFileIsRefused) {
  make_image();
  shell("qemu-img create -f qcow2 -b /etc/passwd -F raw backed.qcow2");
  expect_refused("backed.qcow2", "stands on another file");
  shell("qemu-img create -f qcow2 -o data_file=outside.raw,data_file_raw=on split.qcow2 8M");
  expect_refused("split.qcow2", "keeps its data in another file");
  shell(
      "qemu-img create -f qcow2 --object secret,id=s,data=abc -o encrypt.format=luks,encrypt.key-secret=s "
      "locked.qcow2 8M");
  expect_refused("locked.qcow2", "is encrypted");
}

TEST_F(DiskImageTest, ATruncatedOrDamagedImageIsRefused) {
  make_image();
  const auto size = std::filesystem::file_size(folder_ / "disk.qcow2");
  std::filesystem::copy_file(folder_ / "disk.qcow2", folder_ / "short.qcow2");
  std::filesystem::resize_file(folder_ / "short.qcow2", size - 512 * 1024);
  expect_refused("short.qcow2", "short.qcow2 is damaged, or not all of it is there");
  std::ofstream(folder_ / "noise.qcow2", std::ios::binary) << "QFI\xfb and nothing of the sort";
  expect_refused("noise.qcow2", "noise.qcow2 is damaged");
}

// As people do before they start a VM: its tables may end within their cluster.
TEST_F(DiskImageTest, AnImageThatWasMadeLargerIsWhole) {
  make_image();
  shell("qemu-img resize disk.qcow2 600M");
  auto fetched = fetch("disk.qcow2");
  ASSERT_TRUE(fetched) << fetched.error().message;
  EXPECT_EQ(std::filesystem::file_size(fetched->path), 600 * MiB);
  fetched->keep.reset();
  shell("qemu-img snapshot -c before disk.qcow2");
  EXPECT_TRUE(fetch("disk.qcow2"));
}

TEST_F(DiskImageTest, ATinyFileOfAHugeDiskIsRefusedBeforeItIsMade) {
  shell("qemu-img create -f qcow2 huge.qcow2 2T");
  expect_refused("huge.qcow2", "is a disk of 2");
}

// A client that was killed while it wrote leaves clusters that nothing refers to.
TEST_F(DiskImageTest, AnImageWithLeakedClustersIsTaken) {
  make_image();
  std::fstream file(folder_ / "disk.qcow2", std::ios::in | std::ios::out | std::ios::binary);
  const auto end = std::filesystem::file_size(folder_ / "disk.qcow2");
  file.seekp(static_cast<std::streamoff>(end)), file << std::string(65536, 'x');
  // The refcount of that last cluster, in the table's first block (format: the header names the table at 48).
  auto be64 = [&](std::streamoff at) {
    unsigned char bytes[8];
    file.seekg(at), file.read(reinterpret_cast<char*>(bytes), 8);
    std::uint64_t value = 0;
    for (auto byte : bytes) value = value << 8 | byte;
    return value;
  };
  const auto block = be64(static_cast<std::streamoff>(be64(48)));
  file.seekp(static_cast<std::streamoff>(block + (end + 65535) / 65536 * 2)),
      file << std::string("\0\x01", 2);
  file.close();
  auto fetched = fetch("disk.qcow2");
  ASSERT_TRUE(fetched) << fetched.error().message;
  EXPECT_EQ(content(fetched->path), content(folder_ / "disk.raw"));
}

TEST_F(DiskImageTest, ANameThatLooksLikeAnAddressIsAFile) {
  make_image();
  std::filesystem::rename(folder_ / "disk.qcow2", folder_ / "deb:12.qcow2");
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(folder_.path());
  DiskImageFetcher images(env_.loop, threads_, folder_ / "made");
  EXPECT_TRUE(run_until_done(env_.loop, images.fetch({"deb:12.qcow2", "", GiB}, [](auto...) {})));
  std::filesystem::current_path(before);
}

TEST_F(DiskImageTest, TheChecksumIsThatOfTheFileAsItStands) {
  make_image();
  Sha256 sum;
  sum.add(as_bytes(content(folder_ / "disk.qcow2")));
  EXPECT_TRUE(fetch("disk.qcow2", sum.hex()));
  expect_refused("disk.qcow2", "has SHA-256", std::string(64, 'a'));
}

TEST_F(DiskImageTest, OnlyTheWebIsFetchedFrom) {
  make_image();
  expect_refused("file:///etc/passwd", "over http or https");
  expect_refused("ftp://127.0.0.1/disk", "over http or https");
}

TEST_F(DiskImageTest, AnImageFromTheWebIsFollowedThereAndNowhereElse) {
  make_image();
  const auto disk = content(folder_ / "disk.qcow2");
  auto server = env_.http.serve(
      "127.0.0.1:0",
      [&](HttpRequest request) -> Task<HttpResponse> {
        HttpResponse reply;
        if (request.target == "/disk.qcow2") {
          reply.body = disk;
        } else if (request.target == "/elsewhere") {
          reply.status = 302, reply.headers["location"] = "/disk.qcow2";
        } else if (request.target == "/inside") {
          reply.status = 302, reply.headers["location"] = "file:///etc/passwd";
        } else if (request.target == "/nowhere") {
          reply.status = 302;
        } else {
          reply.status = 404;
        }
        co_return reply;
      },
      MiB);
  ASSERT_TRUE(server) << server.error().message;
  const auto url = "http://" + (*server)->address();
  auto fetched = fetch(url + "/elsewhere");
  ASSERT_TRUE(fetched) << fetched.error().message;
  EXPECT_EQ(content(fetched->path), content(folder_ / "disk.raw"));
  fetched->keep.reset();
  expect_refused(url + "/inside", "cannot download");
  expect_refused(url + "/nowhere", "302");
  expect_refused(url + "/nothing", "404");
}

}  // namespace
}  // namespace ebb
