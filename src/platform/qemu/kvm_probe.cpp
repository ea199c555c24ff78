#include "platform/qemu/kvm_probe.h"

#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/json.h"
#include "platform/qemu/machine_record.h"

namespace ebb::qemu {

struct KvmVerdict {
  std::string boot_id;
  bool works = false;
  std::string why;
};
BOOST_DESCRIBE_STRUCT(KvmVerdict, (), (boot_id, works, why))

KvmProbe::KvmProbe(AsioLoop& loop, Logger log, Settings settings)
    : loop_(loop), log_(std::move(log)), settings_(std::move(settings)), concluded_(loop), scope_(loop) {
  load();
}

KvmProbe::~KvmProbe() { scope_.cancel(); }

void KvmProbe::load() {
  if (!device_is_usable()) return;
  auto text = read_small_file(settings_.folder + "/verdict.json");
  if (!text) return;
  auto verdict = json::read_text<KvmVerdict>(*text);
  if (!verdict || verdict->boot_id != settings_.boot_id) return;
  decided_ = verdict->works ? Accel::kvm : Accel::tcg;
  explanation_ = verdict->why;
}

// Not kept in the verdict: permissions change without a reboot.
bool KvmProbe::device_is_usable() {
  struct stat device{};
  auto refuse = [&](std::string why) {
    decided_ = Accel::tcg;
    explanation_ = std::move(why);
    return false;
  };
  if (stat(settings_.device.c_str(), &device) != 0)
    return refuse(fmt::format("there is no {}", settings_.device));
  if (!settings_.run_as || settings_.run_as->uid == 0) {
    return access(settings_.device.c_str(), R_OK | W_OK) == 0 ||
           refuse(fmt::format("{} may not be opened", settings_.device));
  }
  const auto& user = *settings_.run_as;
  auto in_group = device.st_gid == user.gid || std::ranges::count(user.groups, device.st_gid) > 0;
  auto needed = device.st_uid == user.uid ? 0600u : in_group ? 0060u : 0006u;
  return (device.st_mode & needed) == needed ||
         refuse(fmt::format("{} may not be opened by user {}, whom machines run as", settings_.device,
                            user.uid));
}

Task<Accel> KvmProbe::decide(std::string program, std::string kernel) {
  while (!decided_) {
    const bool is_hosts = kernel.empty();
    if (is_hosts && settings_.host_kernel.empty()) co_return Accel::tcg;  // the next one may have one
    if (!std::exchange(probing_, true)) scope_.spawn(probe(program, kernel));
    co_await concluded_.wait();
  }
  co_return *decided_;
}

Task<void> KvmProbe::probe(std::string program, std::string kernel) {
  auto started = loop_.now();
  const bool is_hosts = kernel.empty();
  Result<void> booted;
  if (is_hosts) {
    auto copy = copy_host_kernel();
    booted = copy ? co_await boot_guest(std::move(program), std::move(*copy)) : fail(std::move(copy).error());
  } else {
    booted = co_await boot_guest(std::move(program), std::move(kernel));
  }
  auto took = to_ms(loop_.now() - started);
  if (booted) {
    conclude(Accel::kvm, fmt::format("KVM booted a guest in {} ms", took));
  } else if (is_hosts) {
    // It may be the kernel: one that cannot be read, or has no serial console built in. An image's own kernel will tell.
    log_.warning(
        "whether KVM boots guests is not known: {} did not boot: {}; machines without a kernel of their own "
        "run under tcg",
        settings_.host_kernel, booted.error().message);
    settings_.host_kernel.clear();
    probing_ = false;
    concluded_.notify_all();
  } else {
    conclude(Accel::tcg,
             fmt::format("KVM does not boot a guest: {} (after {} ms)", booted.error().message, took));
  }
}

// For whom machines run as: distributions keep it for root.
Result<std::string> KvmProbe::copy_host_kernel() const {
  auto copy = settings_.folder + "/kernel";
  std::error_code error;
  std::filesystem::create_directories(settings_.folder, error);
  std::filesystem::copy_file(settings_.host_kernel, copy, std::filesystem::copy_options::overwrite_existing,
                             error);
  if (error) return fail_os(error.value(), "copy", settings_.host_kernel);
  if (chmod(copy.c_str(), 0644) != 0) return fail_os(errno, "open up", copy);
  return copy;
}

namespace {

bool is_elf(const std::string& path) {
  char start[4] = {};
  UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  return file && read(file.get(), start, sizeof start) == sizeof start &&
         std::string_view(start, 4) ==
             "\x7f"
             "ELF";
}

}  // namespace

Task<Result<void>> KvmProbe::boot_guest(std::string program, std::string kernel) {
  std::error_code error;
  std::filesystem::create_directories(settings_.folder, error);
  end_leftover();
  auto console = settings_.folder + "/console.log";
  UniqueFd file(open(console.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!file) co_return fail_os(errno, "make", console);
  if (settings_.run_as && fchown(file.get(), settings_.run_as->uid, settings_.run_as->gid) != 0) {
    co_return fail_os(errno, "change the owner of", console);
  }
  SpawnRequest request;
  request.argv = make_probe_command(program, kernel, is_elf(kernel), settings_.tsc_khz);
  request.folder = settings_.folder;
  request.output = "qemu.log";
  request.record = "process";
  request.must_be_readable = {kernel};
  request.run_as = settings_.run_as;
  request.file_bytes_max = 16 * MiB;
  EBB_CO_TRY(process, spawn_detached(request));
  auto pidfd = open_pidfd(process);
  bool ended = true;
  if (pidfd) {
    FdWatch watch(loop_, fcntl(pidfd->get(), F_DUPFD_CLOEXEC, 3));
    ended = (co_await with_timeout(loop_, watch.readable(), settings_.limit)).has_value();
    if (!ended) (void)send_signal(*pidfd, SIGKILL);
  }
  auto said = read_small_file(console);
  // The kernel came all the way up to looking for a root file system, of which it was given none.
  if (said && said->find("Unable to mount root fs") != std::string::npos) co_return Result<void>{};
  auto words = last_words(settings_.folder + "/qemu.log");
  co_return fail(Code::unavailable, "{}{}{}", ended ? "the guest ended early" : "the guest hung",
                 words.empty() ? "" : ": ", words);
}

// A probe whose agent was killed half-way.
void KvmProbe::end_leftover() {
  auto line = read_small_file(settings_.folder + "/process");
  auto process = line ? parse_process_stat(*line) : std::nullopt;
  if (!process) return;
  if (auto pidfd = open_pidfd(*process)) (void)send_signal(*pidfd, SIGKILL);
}

void KvmProbe::conclude(Accel accel, std::string why) {
  decided_ = accel;
  explanation_ = std::move(why);
  log_.info("{}; machines run under {}", explanation_, to_text(accel));
  KvmVerdict verdict{settings_.boot_id, accel == Accel::kvm, explanation_};
  auto status = write_small_file(settings_.folder + "/verdict.json", json::write_text(verdict));
  if (!status) log_.warning("{}", status.error());
  concluded_.notify_all();
}

}  // namespace ebb::qemu
