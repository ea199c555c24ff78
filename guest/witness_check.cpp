// witness-check: were all records that the witness reported as durable still on its disk, and right?
// Takes a raw image with an ext4 file system and the logs of the ports `ebb.witness`; prints one JSON line.
// Exit code: 0 nothing lost and nothing bad, 1 something is, 2 the question could not be answered.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <spawn.h>
#include <string>
#include <string_view>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include "verdict.h"

namespace {

namespace fs = std::filesystem;
using ebb::guest::Record;

enum class ImageUse { copy_first, scratch };

struct Options {
  fs::path disk;
  ImageUse use = ImageUse::copy_first;
  std::vector<fs::path> reported;
};

// Removed with all that is in it.
class TemporaryFolder final {
 public:
  TemporaryFolder() {
    std::string name = (fs::temp_directory_path() / "witness-check.XXXXXX").string();
    if (mkdtemp(name.data()) != nullptr) path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

[[noreturn]] void unanswerable(const std::string& why) {
  std::fprintf(stderr, "witness-check: %s\n", why.c_str());
  std::exit(2);
}

// Runs a tool quietly; its exit code, or 127.
int run(std::vector<std::string> words) {
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  pid_t pid = -1;
  const int failed = posix_spawnp(&pid, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  int status = 0;
  if (failed != 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status)) return 127;
  return WEXITSTATUS(status);
}

enum class FileSystem { clean, damaged };

// Replays the journal, as the guest's next boot would, and then looks whether anything else is wrong.
FileSystem recover(const fs::path& image) {
  const int replayed = run({"e2fsck", "-y", "-E", "journal_only", image});
  if (replayed == 127) unanswerable("cannot run e2fsck");
  const int looked = replayed > 1 ? 4 : run({"e2fsck", "-f", "-n", image});
  if (looked == 0) return FileSystem::clean;
  // Damaged; whatever can still be read shall be judged.
  if (run({"e2fsck", "-f", "-y", image}) > 2)
    unanswerable("no readable ext4 file system in " + image.string());
  return FileSystem::damaged;
}

std::string read_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) unanswerable("cannot read " + path.string());
  std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (file.bad()) unanswerable("cannot read " + path.string());
  return bytes;
}

// The bytes of /records; none if there is no such file.
std::string extract_records(const fs::path& image, const fs::path& folder) {
  const fs::path target = folder / "records";
  if (run({"debugfs", "-R", "dump /records " + target.string(), image}) == 127)
    unanswerable("cannot run debugfs");
  return fs::exists(target) ? read_file(target) : "";
}

std::vector<Record> to_records(const std::string& bytes) {
  std::vector<Record> records(bytes.size() / sizeof(Record));
  if (!records.empty()) std::memcpy(records.data(), bytes.data(), records.size() * sizeof(Record));
  return records;
}

ebb::guest::Judgement check(const Options& options) {
  std::vector<ebb::guest::ReportLog> logs;
  for (const fs::path& path : options.reported) logs.emplace_back(read_file(path));

  static const TemporaryFolder folder;  // static, so that exit() removes it as well
  if (folder.path().empty()) unanswerable("cannot make a temporary folder");
  fs::path image = options.disk;
  if (options.use == ImageUse::copy_first) {
    image = folder.path() / "disk.raw";
    if (run({"cp", "--sparse=always", "--reflink=auto", options.disk, image}) != 0)
      unanswerable("cannot copy " + options.disk.string());
  }
  const FileSystem state = recover(image);
  const std::string bytes = extract_records(image, folder.path());
  ebb::guest::Judgement result = ebb::guest::judge(to_records(bytes), bytes.size() % sizeof(Record), logs);
  if (state == FileSystem::damaged) {
    ++result.verdict.bad;
    result.remarks.emplace_back("the file system is damaged beyond what its journal repairs");
  }
  return result;
}

std::optional<Options> parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view name = argv[i];
    if (name == "--scratch") {
      options.use = ImageUse::scratch;
    } else if (name == "--disk" && i + 1 < argc) {
      options.disk = argv[++i];
    } else if (name == "--reported" && i + 1 < argc) {
      options.reported.emplace_back(argv[++i]);
    } else {
      return std::nullopt;
    }
  }
  return options.disk.empty() ? std::nullopt : std::optional(options);
}

int report(const ebb::guest::Judgement& result) {
  const ebb::guest::Verdict& verdict = result.verdict;
  for (const std::string& remark : result.remarks)
    std::fprintf(stderr, "witness-check: %s\n", remark.c_str());
  std::printf("{\"records\":%llu,\"reported\":%llu,\"lost\":%llu,\"bad\":%llu,\"torn\":%llu}\n",
              static_cast<unsigned long long>(verdict.records),
              static_cast<unsigned long long>(verdict.reported),
              static_cast<unsigned long long>(verdict.lost), static_cast<unsigned long long>(verdict.bad),
              static_cast<unsigned long long>(verdict.torn));
  return verdict.lost == 0 && verdict.bad == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  const std::optional<Options> options = parse(argc, argv);
  if (!options) {
    std::fprintf(stderr, "usage: witness-check --disk RAW [--scratch] [--reported FILE ...]\n");
    return 2;
  }
  // e2fsck and debugfs live where an ordinary user's PATH does not look.
  const char* path = std::getenv("PATH");
  setenv("PATH", (std::string(path != nullptr ? path : "/usr/bin:/bin") + ":/usr/sbin:/sbin").c_str(), 1);
  if (!fs::is_regular_file(options->disk)) unanswerable("no such image: " + options->disk.string());
  return report(check(*options));
}
