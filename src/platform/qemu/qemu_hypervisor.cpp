#include "platform/qemu/qemu_hypervisor.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <filesystem>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "platform/host.h"
#include "platform/qemu/console_log.h"
#include "platform/qemu/cpu_features.h"
#include "platform/qemu/kvm_probe.h"
#include "platform/qemu/log_rotation.h"
#include "platform/qemu/machine.h"
#include "platform/qemu/qcow2_overlay.h"
#include "platform/qemu/qemu_command.h"
#include "platform/qemu/tap.h"

namespace ebb {
namespace fs = std::filesystem;

Result<std::uint16_t> find_free_port() {
  UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (!fd || bind(fd.get(), generic, length) != 0 || getsockname(fd.get(), generic, &length) != 0) {
    return fail_os(errno, "find", "a free TCP port");
  }
  return ntohs(address.sin_port);
}

namespace qemu {
namespace {

constexpr int port_tries_max = 5;
constexpr Duration house_period = 1s;
constexpr std::size_t archived_folders_max = 64;
constexpr std::uint64_t file_bytes_backstop =
    64 * MiB;  // a log grows by no more than this between two rotations

class QemuHypervisor final : public Hypervisor {
 public:
  QemuHypervisor(AsioLoop& loop, Logger log, QemuOptions options, std::string host_boot_id,
                 std::optional<RunAs> run_as)
      : loop_(loop),
        log_(log),
        options_(std::move(options)),
        boot_id_(host_boot_id),
        run_as_(run_as),
        kvm_(loop, log,
             {.folder = options_.state_dir + "/kvm-probe",
              .boot_id = host_boot_id,
              .run_as = run_as,
              .tsc_khz = options_.tsc_khz,
              .host_kernel = host_kernel()}),
        scope_(loop) {}
  ~QemuHypervisor() override { scope_.cancel(); }

  // Folders and user are as they must be.
  Status check();

  Task<Result<MachineStatus>> start(MachineSpec spec) override;
  Status can_boot(std::optional<Firmware> firmware) const override;
  std::vector<std::string> cpu_features() const override;
  Status has_bridge(const std::string& name) const override;
  Task<Result<bool>> stop(VmId vm, StopWish wish) override;
  Task<Status> pause(VmId vm) override { return on_machine(std::move(vm), &Machine::pause); }
  Task<Status> resume(VmId vm) override { return on_machine(std::move(vm), &Machine::resume); }
  Task<Status> resize_disk(VmId vm, std::string serial, std::uint64_t bytes) override;
  Task<Result<std::vector<MachineStatus>>> list() override;
  Task<Status> forget(VmId vm) override;
  Task<Result<ConsolePiece>> read_console(VmId vm, std::uint64_t epoch, ConsoleFrom from,
                                          std::size_t bytes_max) override;
  Task<Result<std::size_t>> type_at_console(VmId vm, std::string bytes) override;
  void on_change(std::function<void()> callback) override { on_change_ = std::move(callback); }

 private:
  std::string folder_of(const VmId& vm) const {
    return fmt::format("{}/machines/{}", options_.state_dir, vm);
  }
  Status adopt();
  Task<Status> on_machine(VmId vm, Status (Machine::*act)());
  std::string archive() const { return options_.state_dir + "/logs"; }
  Task<Result<MachineStatus>> start_checked(MachineSpec spec, std::string program);
  struct Uefi {
    std::string code;  // its file
    Bytes variables;
  };
  Result<Uefi> find_uefi(std::optional<Firmware> firmware) const;
  Result<std::shared_ptr<Machine>> launch(const MachineSpec& spec, CommandInput input,
                                          ByteView uefi_variables);
  Status make_folder(const MachineSpec& spec, std::uint64_t& file_bytes_max);
  Status make_console(const std::string& folder, const MachineSpec& spec);
  Status make_owned_file(const std::string& path, ByteView content);
  void open_sockets(const MachineSpec& spec);
  std::shared_ptr<Machine> make_machine(std::string folder, MachineRecord record);
  void adopt_folder(const std::string& folder, const VmId& vm);
  Status remove_folder(const VmId& vm, std::uint64_t epoch);
  Task<void> keep_house();

  AsioLoop& loop_;
  Logger log_;
  QemuOptions options_;
  std::string boot_id_;
  std::optional<RunAs> run_as_;
  KvmProbe kvm_;
  std::function<void()> on_change_;
  bool adopted_ = false;
  mutable bool may_make_taps_ = false;  // it has made one
  mutable std::optional<std::vector<std::string>> host_cpu_features_;
  std::map<VmId, std::shared_ptr<Machine>> machines_;  // a nullptr: being started
  Scope scope_;
};

Status QemuHypervisor::check() {
  for (auto name : {"", "/machines", "/logs", "/kvm-probe"}) {
    auto path = options_.state_dir + name;
    std::error_code error;
    fs::create_directories(path, error);
    if (error) return fail_os(error.value(), "make", path);
  }
  // What guests have said is nothing to other machines, which all run as one user.
  if (chmod(archive().c_str(), 0700) != 0) return fail_os(errno, "close", archive());
  return {};
}

// At the first call and not before: by then the caller holds the state folder for itself.
Status QemuHypervisor::adopt() {
  if (std::exchange(adopted_, true)) return {};
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(options_.state_dir + "/machines", error)) {
    adopt_folder(entry.path().string(), VmId(entry.path().filename().string()));
  }
  if (error) return fail_os(error.value(), "list", options_.state_dir + "/machines");
  scope_.spawn(keep_house());
  return {};
}

void QemuHypervisor::adopt_folder(const std::string& folder, const VmId& vm) {
  auto record = load_record(folder);
  if (!record) {
    log_.error("VM {}: {}", vm, record.error());
    MachineRecord unknown;
    unknown.spec.vm = vm;
    record = unknown;
  }
  auto same_boot = record->boot_id == boot_id_;
  auto line = read_small_file(folder + "/process");
  auto process = line ? parse_process_stat(*line) : std::nullopt;
  auto machine = make_machine(folder, std::move(*record));
  machines_[vm] = machine;
  if (!process || !same_boot)
    return machine->mark_exited(same_boot ? "it was never started" : "the host has rebooted");
  machine->attach(*process);
}

std::shared_ptr<Machine> QemuHypervisor::make_machine(std::string folder, MachineRecord record) {
  Machine::Settings settings;
  settings.ready_without_word = options_.ready_without_word;
  settings.changed = [this] {
    if (on_change_) on_change_();
  };
  return std::make_shared<Machine>(loop_, log_, std::move(folder), std::move(record), std::move(settings));
}

Task<Result<MachineStatus>> QemuHypervisor::start(MachineSpec spec) {
  EBB_CO_CHECKED(check_spec(spec));
  EBB_CO_CHECKED(adopt());
  auto vm = spec.vm;
  if (machines_.contains(vm)) co_return fail(Code::conflict, "VM '{}' has a machine here already", vm);
  auto program = find_program(options_.program);
  if (!program) co_return fail(std::move(program).error().within("cannot run virtual machines"));
  // Holds the VM's place until there is a machine, whatever becomes of this task.
  struct Place {
    QemuHypervisor* self;
    VmId vm;
    ~Place() {
      auto found = self->machines_.find(vm);
      if (found != self->machines_.end() && !found->second) self->machines_.erase(found);
    }
  } place{this, vm};
  machines_[vm] = nullptr;
  co_return co_await start_checked(std::move(spec), std::move(*program));
}

Task<Result<MachineStatus>> QemuHypervisor::start_checked(MachineSpec spec, std::string program) {
  auto vm = spec.vm;
  Accel accel = Accel::tcg;
  if (options_.may_use_kvm) accel = co_await kvm_.decide(program, spec.kernel);
  EBB_CO_TRY(uefi, find_uefi(spec.firmware));
  std::string why;
  for (int tries = 0; tries < port_tries_max; ++tries) {
    auto launched = launch(spec, {program, accel, options_.tsc_khz, {}, uefi.code}, uefi.variables);
    if (!launched) {
      (void)remove_folder(vm, spec.epoch);
      co_return fail(std::move(launched).error().within(fmt::format("VM '{}'", vm)));
    }
    auto machine = *launched;
    if (co_await machine->greeted()) co_return machine->status();
    why = last_words(machine->folder() + "/qemu.log");
    log_.warning("VM {}: QEMU ended at its start: {}", vm, why);
    machines_[vm] = nullptr;
    EBB_CO_CHECKED(remove_folder(vm, spec.epoch));
    // Somebody took a port between our look and QEMU's: choose others. Anything else stays wrong.
    if (why.find("host forwarding") == std::string::npos) break;
  }
  co_return fail(Code::unavailable, "VM '{}': QEMU ended at its start{}: {}", vm,
                 spec.kernel.empty() ? "" : fmt::format(" (kernel {})", spec.kernel),
                 why.empty() ? "it said nothing" : why);
}

Result<QemuHypervisor::Uefi> QemuHypervisor::find_uefi(std::optional<Firmware> firmware) const {
  if (firmware != Firmware::uefi) return Uefi{};
  for (const auto& [code, variables] : options_.uefi_files) {
    if (access(code.c_str(), R_OK) != 0) continue;
    EBB_TRY(text, read_small_file(variables));
    return Uefi{code, to_bytes(text)};
  }
  return fail(Code::unavailable, "this worker has no UEFI firmware: install the package ovmf");
}

Status QemuHypervisor::can_boot(std::optional<Firmware> firmware) const {
  EBB_TRY(uefi, find_uefi(firmware));
  (void)uefi;
  return {};
}

std::vector<std::string> QemuHypervisor::cpu_features() const {
  if (!options_.may_use_kvm || !kvm_.may_be_kvm()) return emulated_cpu_features();
  if (!host_cpu_features_)
    host_cpu_features_ = parse_cpu_flags(read_small_file("/proc/cpuinfo").value_or(""));
  return *host_cpu_features_;
}

Status QemuHypervisor::has_bridge(const std::string& name) const {
  EBB_CHECKED(check_bridge(name));
  if (!may_make_taps_) EBB_CHECKED(check_may_make_taps());
  may_make_taps_ = true;
  return {};
}

// Up to the running process in one go, without a suspension: a task that ends half-way leaves either no
// process or one that the table and the folder know.
Result<std::shared_ptr<Machine>> QemuHypervisor::launch(const MachineSpec& spec, CommandInput input,
                                                        ByteView uefi_variables) {
  auto folder = folder_of(spec.vm);
  SpawnRequest request;
  request.file_bytes_max = file_bytes_backstop;
  EBB_CHECKED(make_folder(spec, request.file_bytes_max));
  if (spec.firmware == Firmware::uefi)
    EBB_CHECKED(make_owned_file(fmt::format("{}/{}", folder, uefi_vars_name), uefi_variables));
  MachineRecord record;
  record.spec = spec;
  record.accel = to_text(input.accel);
  record.boot_id = boot_id_;
  for (const auto& port : spec.ports) {
    EBB_TRY(number, options_.find_port ? options_.find_port() : find_free_port());
    record.ports[port.name] = number;
  }
  EBB_CHECKED(save_record(folder, record));
  EBB_CHECKED(make_console(folder, spec));
  EBB_TRY(monitor, qemu::listen_unix(folder + "/qmp.sock"));
  EBB_TRY(control, qemu::listen_unix(folder + "/control.sock"));
  EBB_TRY(guest_agent, qemu::listen_unix(folder + "/agent.sock"));

  input.ports = record.ports;
  std::vector<Tap> taps;
  for (const auto& interface : spec.interfaces.value_or(std::vector<MachineInterface>())) {
    EBB_TRY(tap, open_tap(interface.bridge, interface.mac));
    input.mtus.push_back(tap.mtu);
    taps.push_back(std::move(tap));
  }
  request.argv = make_command(spec, input);
  request.folder = folder;
  request.pass_fds = {monitor.get(), control.get(), guest_agent.get()};
  for (const auto& tap : taps) request.pass_fds.push_back(tap.fd.get());
  request.output = "qemu.log";
  request.record = "process";
  for (const auto& file : {spec.kernel, spec.initrd, input.uefi_code})
    if (!file.empty()) request.must_be_readable.push_back(file);
  request.run_as = run_as_;
  open_sockets(spec);
  EBB_TRY(process, spawn_detached(request));
  auto machine = make_machine(folder, std::move(record));
  machines_[spec.vm] = machine;
  machine->attach(process);
  return machine;
}

Status QemuHypervisor::make_folder(const MachineSpec& spec, std::uint64_t& file_bytes_max) {
  auto folder = folder_of(spec.vm);
  if (mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) return fail_os(errno, "make", folder);
  for (const auto& channel : spec.channels) {
    EBB_CHECKED(make_owned_file(fmt::format("{}/{}", folder, channel_log_name(channel)), {}));
  }
  if (!spec.seed.empty()) {
    auto seed = fmt::format("{}/{}", folder, seed_folder_name);
    if (mkdir(seed.c_str(), 0755) != 0 && errno != EEXIST) return fail_os(errno, "make", seed);
    if (chmod(seed.c_str(), 0755) != 0) return fail_os(errno, "open up", seed);  // whatever our umask is
    for (const auto& [name, content] : spec.seed)
      EBB_CHECKED(make_owned_file(fmt::format("{}/{}", seed, name), as_bytes(content)));
  }
  for (std::size_t i = 0; i < spec.disks.size(); ++i) {
    if (spec.disks[i].ephemeral.value_or(false)) {
      const auto path = fmt::format("{}/{}", folder, ephemeral_name(i));
      EBB_CHECKED(make_owned_file(path, {}));
      if (truncate(path.c_str(), static_cast<off_t>(spec.disks[i].bytes)) != 0)
        return fail_os(errno, "enlarge", path);
      file_bytes_max = std::max(file_bytes_max, spec.disks[i].bytes + file_bytes_backstop);
    }
    if (!spec.disks[i].read_only) continue;
    EBB_TRY(overlay, make_qcow2_overlay(spec.disks[i].bytes));
    EBB_CHECKED(make_owned_file(fmt::format("{}/{}", folder, overlay_name(i)), overlay));
    // A full overlay holds every byte once, and its tables.
    file_bytes_max =
        std::max(file_bytes_max, spec.disks[i].bytes + spec.disks[i].bytes / 64 + file_bytes_backstop);
  }
  // QEMU works in the folder but owns only the files that it writes: it must not be able to change the
  // records.
  if (run_as_ && chmod(folder.c_str(), 0711) != 0) return fail_os(errno, "open up", folder);
  return {};
}

// After the record: whoever finds the log in the folder must know of what epoch it is.
Status QemuHypervisor::make_console(const std::string& folder, const MachineSpec& spec) {
  const std::optional<ConsoleOwner> owner =
      run_as_ ? std::optional(ConsoleOwner{run_as_->uid, run_as_->gid}) : std::nullopt;
  auto goes_on = bring_console_back(archive(), spec.vm, spec.epoch, loop_.wall_now(), folder, owner);
  if (!goes_on) log_.warning("VM {}: {}", spec.vm, goes_on.error());  // its log begins anew
  if (!goes_on.value_or(false))
    EBB_CHECKED(make_owned_file(fmt::format("{}/{}", folder, console_log_name), {}));
  const auto in = fmt::format("{}/{}", folder, console_in_name),
             out = fmt::format("{}/{}", folder, console_out_name);
  unlink(in.c_str()), unlink(out.c_str());
  if (mkfifo(in.c_str(), 0600) != 0 || (owner && lchown(in.c_str(), owner->uid, owner->gid) != 0))
    return fail_os(errno, "make", in);
  if (symlink("/dev/null", out.c_str()) != 0) return fail_os(errno, "make", out);
  return {};
}

Status QemuHypervisor::make_owned_file(const std::string& path, ByteView content) {
  UniqueFd file(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!file) return fail_os(errno, "make", path);
  auto written = write(file.get(), content.data(), content.size());
  if (written != static_cast<ssize_t>(content.size()))
    return fail_os(written < 0 ? errno : ENOSPC, "write", path);
  if (run_as_ && fchown(file.get(), run_as_->uid, run_as_->gid) != 0)
    return fail_os(errno, "change the owner of", path);
  return {};
}

// The disk daemon's sockets belong to it, and it makes new ones when it restarts: whom machines run as must
// be let in again.
void QemuHypervisor::open_sockets(const MachineSpec& spec) {
  if (!run_as_) return;
  for (const auto& disk : spec.disks) {
    struct stat info{};
    bool is_foreign = !disk.nbd_socket.empty() && lstat(disk.nbd_socket.c_str(), &info) == 0 &&
                      S_ISSOCK(info.st_mode) && info.st_uid != run_as_->uid;
    if (is_foreign && lchown(disk.nbd_socket.c_str(), run_as_->uid, static_cast<gid_t>(-1)) != 0) {
      log_.warning("VM {}: {}", spec.vm, os_error(errno, "change the owner of", disk.nbd_socket));
    }
  }
}

Task<Result<bool>> QemuHypervisor::stop(VmId vm, StopWish wish) {
  EBB_CO_CHECKED(adopt());
  auto found = machines_.find(vm);
  if (found == machines_.end() || !found->second) co_return true;
  auto machine = found->second;  // kept alive until it has stopped
  co_return co_await machine->stop(std::move(wish));
}

Task<Status> QemuHypervisor::on_machine(VmId vm, Status (Machine::*act)()) {
  EBB_CO_CHECKED(adopt());
  auto found = machines_.find(vm);
  if (found == machines_.end() || !found->second)
    co_return fail(Code::not_found, "VM '{}' has no machine here", vm);
  co_return (*found->second.*act)();
}

Task<Status> QemuHypervisor::resize_disk(VmId vm, std::string serial, std::uint64_t bytes) {
  EBB_CO_CHECKED(adopt());
  auto found = machines_.find(vm);
  if (found == machines_.end() || !found->second)
    co_return fail(Code::not_found, "VM '{}' has no machine here", vm);
  auto machine = found->second;  // kept alive until it has answered
  const auto& disks = machine->spec().disks;
  const auto disk = std::ranges::find(disks, serial, &MachineDisk::serial);
  if (disk == disks.end())
    co_return fail(Code::not_found, "VM '{}' was started without disk '{}'", vm, serial);
  co_return co_await machine->resize_disk(static_cast<std::size_t>(disk - disks.begin()), bytes);
}

Task<Result<ConsolePiece>> QemuHypervisor::read_console(VmId vm, std::uint64_t epoch, ConsoleFrom from,
                                                        std::size_t bytes_max) {
  EBB_CO_CHECKED(adopt());
  auto found = machines_.find(vm);
  if (found != machines_.end() && found->second && found->second->spec().epoch == epoch)
    co_return read_console_log(found->second->folder(), from, bytes_max);
  auto folder = find_archived_console(archive(), vm, epoch);
  if (!folder)
    co_return fail(Code::not_found, "nothing is kept here of what VM '{}' said under epoch {}", vm, epoch);
  co_return read_console_log(*folder, from, bytes_max);
}

Task<Result<std::size_t>> QemuHypervisor::type_at_console(VmId vm, std::string bytes) {
  EBB_CO_CHECKED(adopt());
  auto found = machines_.find(vm);
  if (found == machines_.end() || !found->second)
    co_return fail(Code::not_found, "VM '{}' has no machine here", vm);
  co_return found->second->type(bytes);
}

Task<Result<std::vector<MachineStatus>>> QemuHypervisor::list() {
  EBB_CO_CHECKED(adopt());
  std::vector<MachineStatus> all;
  for (const auto& [vm, machine] : machines_) {
    if (machine) all.push_back(machine->status());
  }
  co_return all;
}

Task<Status> QemuHypervisor::forget(VmId vm) {
  EBB_CO_CHECKED(adopt());
  auto found = machines_.find(vm);
  if (found == machines_.end()) co_return Status{};
  if (!found->second || !found->second->exited())
    co_return fail(Code::busy, "VM '{}' runs; stop it first", vm);
  EBB_CO_CHECKED(remove_folder(vm, found->second->spec().epoch));
  machines_.erase(vm);
  co_return Status{};
}

Status QemuHypervisor::remove_folder(const VmId& vm, std::uint64_t epoch) {
  auto folder = folder_of(vm);
  auto name = archive_name(vm, epoch, loop_.wall_now());
  if (auto status = archive_logs(folder, archive(), name, archived_folders_max); !status) {
    log_.warning("VM {}: {}", vm, status.error());
  }
  std::error_code error;
  fs::remove_all(folder, error);
  if (error) return fail_os(error.value(), "remove", folder);
  return {};
}

Task<void> QemuHypervisor::keep_house() {
  for (;;) {
    co_await sleep_for(loop_, house_period);
    for (const auto& [vm, machine] : machines_) {
      if (!machine || machine->exited()) continue;
      open_sockets(machine->spec());
      auto status = rotate_logs(machine->folder(), options_.log_bytes_max);
      if (!status) log_.warning("VM {}: {}", vm, status.error());
    }
  }
}

}  // namespace
}  // namespace qemu

Result<std::unique_ptr<Hypervisor>> make_qemu_hypervisor(AsioLoop& loop, Logger log, QemuOptions options) {
  EBB_TRY(host_boot_id, boot_id());
  EBB_TRY(run_as, qemu::find_run_as(options.user));
  auto hypervisor =
      std::make_unique<qemu::QemuHypervisor>(loop, log, std::move(options), host_boot_id, run_as);
  EBB_CHECKED(hypervisor->check());
  return hypervisor;
}

}  // namespace ebb
