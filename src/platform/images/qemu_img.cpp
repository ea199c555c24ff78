#include "platform/images/qemu_img.h"

#include <bit>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/json.h"
#include "base/text.h"
#include "platform/os_error.h"

extern char** environ;

namespace ebb::images {
namespace {

constexpr int look_ms = 200;  // whether anybody still waits
constexpr std::uint64_t kept_bytes_max = 1 * MiB;

struct Ended {
  int exit = 0;
  std::string out, errors;
};

struct Pipe {
  UniqueFd out, in;
};

Result<Pipe> make_pipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return fail_os(errno, "make", "a pipe");
  return Pipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

Result<pid_t> start(std::vector<std::string>& words, int out, int errors) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, out, 1);
  posix_spawn_file_actions_adddup2(&actions, errors, 2);
  std::vector<char*> argv;
  for (auto& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  pid_t pid = 0;
  const int failed = posix_spawnp(&pid, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (failed == ENOENT)
    return fail(Code::unavailable, "{} is not installed: it is needed for qcow2 images (package qemu-utils)",
                words[0]);
  if (failed != 0) return fail_os(failed, "start", words[0]);
  return pid;
}

// What has come; false: nothing will come any more.
bool read_some(int fd, std::string& into) {
  char buffer[4096];
  const auto size = read(fd, buffer, sizeof buffer);
  if (size < 0) return errno == EINTR || errno == EAGAIN;
  if (into.size() < kept_bytes_max) into.append(buffer, static_cast<std::size_t>(size));
  return size > 0;
}

// Asked every now and then, with what it has said so far; false ends the program.
using GoesOn = std::function<bool(const std::string& out)>;

Result<Ended> run(std::vector<std::string> words, const GoesOn& goes_on) {
  EBB_TRY(out, make_pipe());
  EBB_TRY(errors, make_pipe());
  EBB_TRY(pid, start(words, out.in.get(), errors.in.get()));
  out.in.reset(), errors.in.reset();
  Ended ended;
  bool is_ended_by_us = false;
  pollfd ends[] = {{out.out.get(), POLLIN, 0}, {errors.out.get(), POLLIN, 0}};
  while (ends[0].fd >= 0 || ends[1].fd >= 0) {
    (void)poll(ends, 2, look_ms);
    if (ends[0].revents && !read_some(ends[0].fd, ended.out)) ends[0].fd = -1;
    if (ends[1].revents && !read_some(ends[1].fd, ended.errors)) ends[1].fd = -1;
    if (!is_ended_by_us && !goes_on(ended.out)) is_ended_by_us = true, kill(pid, SIGKILL);
  }
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (is_ended_by_us) return fail(Code::unavailable, "interrupted");
  ended.exit = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return ended;
}

std::string last_line(std::string_view text) {
  while (text.ends_with('\n')) text.remove_suffix(1);
  return std::string(text.substr(text.rfind('\n') + 1));
}

Result<json::Object> ask(const std::string& verb, const Qcow2& image, int exit_max,
                         const Progress& progress) {
  EBB_TRY(ended, run({"qemu-img", verb, "-f", "qcow2", "--output=json", image.path},
                     [&](const std::string&) { return progress(0, 0); }));
  auto value = json::parse(ended.out);
  if (ended.exit > exit_max || !value || !value->is_object())
    return fail(Code::invalid, "{} is damaged: {}", image.name, last_line(ended.errors));
  return value->get_object();
}

std::uint64_t number(const json::Object& object, const char* key) {
  const auto* value = object.if_contains(key);
  if (!value) return 0;
  return value->is_uint64()                            ? value->get_uint64()
         : value->is_int64() && value->get_int64() > 0 ? static_cast<std::uint64_t>(value->get_int64())
                                                       : 0;
}

Result<Bytes> read_start(const std::string& path) {
  constexpr std::size_t header_bytes = 104;
  UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return fail_os(errno, "open", path);
  Bytes start(header_bytes);
  const auto size = read(file.get(), start.data(), start.size());
  if (size < 0) return fail_os(errno, "read", path);
  start.resize(static_cast<std::size_t>(size));
  return start;
}

// Whoever gives us a file must not make us read another one. Looked at before qemu-img sees it, which opens what an image names
// (format: https://www.qemu.org/docs/master/interop/qcow2.html, "Header").
Status check_stands_alone(const Qcow2& image, ByteView header) {
  constexpr std::size_t backing_offset = 8, backing_bytes = 16, crypt_method = 32, incompatible = 72;
  constexpr std::uint64_t has_data_file = 4, version_3 = 3;
  constexpr std::size_t header_bytes_min = 72;
  if (header.size() < header_bytes_min)
    return fail(Code::invalid, "{} is damaged: it ends within its header", image.name);
  auto be32 = [&](std::size_t at) { return std::byteswap(load_le<std::uint32_t>(header, at)); };
  auto be64 = [&](std::size_t at) { return std::byteswap(load_le<std::uint64_t>(header, at)); };
  if (be64(backing_offset) != 0 || be32(backing_bytes) != 0)
    return fail(
        Code::invalid,
        "{} stands on another file: make it whole with 'qemu-img convert -O qcow2' where that file is",
        image.name);
  if (be32(crypt_method) != 0) return fail(Code::invalid, "{} is encrypted", image.name);
  const bool has_features = be32(4) >= version_3 && header.size() >= incompatible + 8;
  if (has_features && (be64(incompatible) & has_data_file))
    return fail(Code::invalid,
                "{} keeps its data in another file: make it whole with 'qemu-img convert -O qcow2' where "
                "that file is",
                image.name);
  return {};
}

// A file of a few KiB may say that it is a disk of any size.
Status check_size(const Qcow2& image, std::uint64_t bytes) {
  if (bytes > 0 && bytes <= image.bytes_max) return {};
  return fail(Code::invalid, "{} is a disk of {}; at most {} are possible", image.name, format_size(bytes),
              format_size(image.bytes_max));
}

// qemu-img reads what lies beyond the end of a file as zeroes.
Status check_is_whole(const Qcow2& image, std::uint64_t cluster_bytes, const Progress& progress) {
  constexpr int leaks_only = 3;
  EBB_TRY(found, ask("check", image, leaks_only, progress));
  std::error_code error;
  const auto size = std::filesystem::file_size(image.path, error);
  if (error) return fail_os(error.value(), "look at", image.path);
  // The last cluster need not be filled up: of a table only what is used may be there, of compressed data what there is.
  if (number(found, "image-end-offset") > size + cluster_bytes - 1)
    return fail(Code::invalid, "{} is truncated: it has {} bytes of {}", image.name, size,
                number(found, "image-end-offset"));
  if (number(found, "corruptions") > 0 || number(found, "check-errors") > 0)
    return fail(Code::invalid, "{} is damaged, or not all of it is there: qemu-img check finds {} faults",
                image.name, number(found, "corruptions") + number(found, "check-errors"));
  return {};
}

}  // namespace

Result<bool> is_qcow2(const std::string& path) {
  EBB_TRY(start, read_start(path));
  return as_text(start).starts_with("QFI\xfb");
}

Status convert_qcow2(const Qcow2& image, const std::string& to, const Progress& progress) {
  EBB_TRY(header, read_start(image.path));
  EBB_CHECKED(check_stands_alone(image, header));
  EBB_TRY(info, ask("info", image, 0, progress));
  const auto bytes = number(info, "virtual-size");
  EBB_CHECKED(check_size(image, bytes));
  EBB_CHECKED(check_is_whole(image, std::max<std::uint64_t>(number(info, "cluster-size"), 1), progress));
  // "    (12.34/100%)", written over itself.
  auto on_output = [&](const std::string& said) {
    const auto at = said.rfind('(');
    const double percent = at == std::string::npos ? 0 : std::strtod(said.c_str() + at + 1, nullptr);
    return progress(static_cast<std::uint64_t>(static_cast<double>(bytes) * percent / 100), bytes);
  };
  EBB_TRY(ended, run({"qemu-img", "convert", "-p", "-f", "qcow2", "-O", "raw", "-S", "4k", image.path, to},
                     on_output));
  if (ended.exit != 0)
    return fail(Code::unavailable, "{} cannot be made into a raw file: {}", image.name,
                last_line(ended.errors));
  constexpr std::uint64_t block = 4096;
  if (truncate(to.c_str(), static_cast<off_t>((bytes + block - 1) / block * block)) != 0)
    return fail_os(errno, "fill up", to);
  return {};
}

}  // namespace ebb::images
