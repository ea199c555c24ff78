#include "platform/images/disk_image.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <unistd.h>

#include "base/bytes.h"
#include "base/sha256.h"
#include "env/scope.h"
#include "platform/images/download.h"
#include "platform/images/qemu_img.h"
#include "platform/os_error.h"

namespace ebb {
namespace {

constexpr Duration look_period = 100ms;

// What the thread is at; it ends early when nobody waits for it any more.
struct Work {
  std::mutex mutex;
  std::string doing;
  std::uint64_t done = 0, total = 0;
  std::atomic<bool> is_wanted = true;

  void begin(std::string what) {
    std::lock_guard lock(mutex);
    doing = std::move(what), done = 0, total = 0;
  }
  bool report(std::uint64_t now, std::uint64_t of) {
    std::lock_guard lock(mutex);
    done = now, total = of;
    return is_wanted;
  }
};

// A folder of its own, which goes with everything in it.
Result<std::shared_ptr<std::string>> make_folder(const std::string& parent) {
  auto name = parent + "/ebb-image-XXXXXX";
  if (!mkdtemp(name.data())) return fail_os(errno, "make a folder in", parent);
  return std::shared_ptr<std::string>(new std::string(name), [](std::string* folder) {
    std::error_code error;
    std::filesystem::remove_all(*folder, error);
    delete folder;
  });
}

Status check_sha256(Work& work, const std::string& path, const ImageSource& source) {
  if (source.sha256.empty()) return {};
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rbe"), std::fclose);
  if (!file) return fail_os(errno, "open", path);
  std::error_code error;
  const auto total = std::filesystem::file_size(path, error);
  work.begin("checking");
  Sha256 sum;
  Bytes buffer(MiB);
  for (std::uint64_t done = 0;;) {
    const auto size = std::fread(buffer.data(), 1, buffer.size(), file.get());
    if (size == 0) break;
    sum.add(ByteView(buffer).first(size));
    if (!work.report(done += size, total)) return fail(Code::unavailable, "interrupted");
  }
  const auto found = sum.hex();
  if (found == source.sha256) return {};
  return fail(Code::invalid, "{} has SHA-256 {}, not {}", source.address, found, source.sha256);
}

Result<RawDisk> make_raw(Work& work, const std::string& parent, const ImageSource& source) {
  auto progress = [&work](std::uint64_t done, std::uint64_t total) { return work.report(done, total); };
  const auto& address = source.address;
  RawDisk disk{address, nullptr};
  std::shared_ptr<std::string> folder;
  auto place = [&](const char* name) -> Result<std::string> {
    if (!folder) {
      EBB_TRY(made, make_folder(parent));
      folder = made;
    }
    return fmt::format("{}/{}", *folder, name);
  };
  std::string downloaded;
  if (address.contains("://")) {
    if (!address.starts_with("http://") && !address.starts_with("https://"))
      return fail(Code::invalid, "an image comes from a file, or over http or https: {}", address);
    EBB_TRY(path, place("downloaded"));
    work.begin("fetching");
    EBB_CHECKED(images::download(address, path, progress));
    disk.path = downloaded = path;
  } else if (access(address.c_str(), R_OK) != 0) {
    return fail(Code::invalid, "cannot open {}: {}", address, std::generic_category().message(errno));
  }
  EBB_CHECKED(check_sha256(work, disk.path, source));
  EBB_TRY(qcow2, images::is_qcow2(disk.path));
  if (qcow2) {
    EBB_TRY(path, place("disk.raw"));
    work.begin("converting");
    const images::Qcow2 image{std::filesystem::absolute(disk.path), address, source.bytes_max};
    EBB_CHECKED(images::convert_qcow2(image, path, progress));
    if (!downloaded.empty()) std::filesystem::remove(downloaded);  // the room is needed
    disk.path = path;
  }
  disk.keep = folder;
  return disk;
}

Task<void> tell(Loop& loop, std::shared_ptr<Work> work, DiskImages::Progress progress) {
  for (;;) {
    co_await sleep_for(loop, look_period);
    std::unique_lock lock(work->mutex);
    auto [doing, done, total] = std::tuple(work->doing, work->done, work->total);
    lock.unlock();
    if (!doing.empty()) progress(doing, done, total);
  }
}

}  // namespace

Task<Result<RawDisk>> DiskImageFetcher::fetch(ImageSource source, Progress progress) {
  auto work = std::make_shared<Work>();
  struct Waiting {
    std::shared_ptr<Work> work;
    ~Waiting() { work->is_wanted = false; }
  } waiting{work};
  Scope telling(loop_);
  telling.spawn(tell(loop_, work, std::move(progress)));
  auto made = co_await offload<Result<RawDisk>>(
      loop_, threads_, [work, folder = folder_, source] { return make_raw(*work, folder, source); });
  telling.cancel();
  co_return made;
}

}  // namespace ebb
