// Real machines: QEMU with the witness guest. EBB_GUEST_DIR names a folder with vmlinux, initrd, cmdline and
// disk.raw.
#include <arpa/inet.h>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "platform/host.h"
#include "platform/qemu/machine_record.h"
#include "platform/qemu/process.h"
#include "platform/qemu/qemu_hypervisor.h"

namespace ebb {
namespace {
namespace fs = std::filesystem;

// An emulated guest on a busy machine; a healthy one needs about 2 s.
constexpr Duration patience = 90s;

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

class MachineTest : public testing::Test {
 protected:
  void SetUp() override {
    const char* guest = std::getenv("EBB_GUEST_DIR");
    guest_ = guest ? guest : EBB_GUEST_DIR_BUILT;
    if (!fs::exists(guest_ + "/vmlinux")) GTEST_SKIP() << "no guest in " << guest_;
    std::string name = (fs::temp_directory_path() / "ebb-machines-XXXXXX").string();
    folder_ = mkdtemp(name.data());
    chmod(folder_.c_str(), 0755);
    // Machines run as another user, who may not be let into a checkout in somebody's home.
    for (auto file : {"/vmlinux", "/initrd.cpio"}) fs::copy_file(guest_ + file, folder_ + file);
    options_.state_dir = folder_ + "/state";
    options_.tsc_khz = tsc_khz();
    options_.may_use_kvm = false;
    restart_agent();
  }

  void TearDown() override {
    if (folder_.empty()) return;
    if (hypervisor_) {
      for (const auto& machine : list()) stop(machine.vm, 0s);
    }
    hypervisor_.reset();
    if (nbd_) {
      if (auto pidfd = qemu::open_pidfd(*nbd_)) (void)qemu::send_signal(*pidfd, SIGKILL);
    }
    if (HasFailure()) {
      for (const auto& entry : fs::recursive_directory_iterator(folder_)) {
        if (entry.path().extension() != ".log") continue;
        fmt::print(stderr, "--- {}\n{}\n", entry.path().string(), qemu::last_words(entry.path().string()));
      }
    }
    fs::remove_all(folder_);
  }

  // A new agent process would find the same: nothing but the folder.
  void restart_agent() {
    hypervisor_.reset();
    auto made = make_qemu_hypervisor(loop_, Logger(), options_);
    ASSERT_TRUE(made) << made.error().message;
    hypervisor_ = std::move(*made);
    hypervisor_->on_change([this] { changed_.poke(); });
  }

  MachineSpec spec(const std::string& vm) {
    MachineSpec s;
    s.vm = VmId(vm);
    s.epoch = 5;
    s.kernel = folder_ + "/vmlinux";
    s.initrd = folder_ + "/initrd.cpio";
    s.cmdline = read_file(guest_ + "/cmdline");
    while (!s.cmdline.empty() && s.cmdline.back() == '\n') s.cmdline.pop_back();
    s.memory_bytes = 128 * MiB;
    s.channels = {"witness"};
    s.ports = {{"http", 80}};
    return s;
  }
  // A kernel that panics and stays there: it never hears `stop`.
  MachineSpec deaf_spec(const std::string& vm) {
    auto s = spec(vm);
    s.initrd.clear();
    s.cmdline = "console=ttyS0 panic=0 quiet";
    return s;
  }

  Result<MachineStatus> start(MachineSpec s) {
    return run_until_done(loop_, hypervisor_->start(std::move(s)));
  }
  Result<bool> stop(VmId vm, Duration grace) {
    return run_until_done(loop_, hypervisor_->stop(vm, {.grace = grace}));
  }
  std::vector<MachineStatus> list() { return *run_until_done(loop_, hypervisor_->list()); }
  MachineStatus status(const std::string& vm) {
    for (auto& machine : list()) {
      if (machine.vm.value == vm) return machine;
    }
    ADD_FAILURE() << vm << " is not there";
    return {};
  }
  bool wait_until(const std::string& vm, MachineState state) {
    auto deadline = loop_.now() + patience;
    while (status(vm).state != state && loop_.now() < deadline) run_until_done(loop_, changed_.wait_for(1s));
    return status(vm).state == state;
  }
  bool wait_for_text(const std::string& path, const std::string& text) {
    auto deadline = loop_.now() + patience;
    while (loop_.now() < deadline) {
      if (read_file(path).find(text) != std::string::npos) return true;
      run_until_done(loop_, sleep_for(loop_, 20ms));
    }
    return false;
  }
  bool wait_for_growth(const std::string& path, std::uintmax_t size) {
    auto deadline = loop_.now() + patience;
    while (fs::file_size(path) <= size && loop_.now() < deadline)
      run_until_done(loop_, sleep_for(loop_, 20ms));
    return fs::file_size(path) > size;
  }
  // Whatever it answers.
  void ask_guest(std::uint16_t port, const std::string& path) {
    UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET, address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ASSERT_EQ(connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    const auto request = "GET " + path + " HTTP/1.0\r\n\r\n";
    ASSERT_EQ(send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(request.size()));
    char answer[4096];
    while (recv(fd.get(), answer, sizeof answer, 0) > 0) {
    }
  }
  // All that is kept of it.
  std::string console(const std::string& vm, std::uint64_t epoch = 5) {
    auto piece = run_until_done(loop_, hypervisor_->read_console(VmId(vm), epoch, {}, MiB));
    return piece ? piece->bytes : "";
  }
  bool console_has(const std::string& vm, const std::string& text) {
    auto deadline = loop_.now() + patience;
    while (!console(vm).contains(text) && loop_.now() < deadline)
      run_until_done(loop_, sleep_for(loop_, 20ms));
    return console(vm).contains(text);
  }
  Result<std::size_t> type(const std::string& vm, const std::string& text) {
    return run_until_done(loop_, hypervisor_->type_at_console(VmId(vm), text));
  }
  std::string folder_of(const std::string& vm) { return options_.state_dir + "/machines/" + vm; }
  qemu::ProcessId process_of(const std::string& vm) {
    return *qemu::parse_process_stat(read_file(folder_of(vm) + "/process"));
  }

  // A disk of the test guest's, served by qemu-nbd - as us, not as whom machines run as.
  MachineDisk serve_disk(bool read_only) {
    fs::create_directories(folder_ + "/nbd");
    fs::permissions(folder_ + "/nbd", fs::perms::all);
    fs::copy_file(guest_ + "/disk.raw", folder_ + "/nbd/disk.raw");
    fs::permissions(folder_ + "/nbd/disk.raw", fs::perms::owner_all | fs::perms::others_all);
    auto socket = folder_ + "/nbd/socket";
    qemu::SpawnRequest request;
    request.argv = {
        *qemu::find_program("qemu-nbd"), "-k", socket, "-f", "raw", "-x", "disk-1", "-t", "--discard=unmap"};
    if (read_only) request.argv.push_back("-r");
    request.argv.push_back(folder_ + "/nbd/disk.raw");
    request.folder = folder_ + "/nbd";
    request.output = "nbd.log", request.record = "process";
    request.file_bytes_max = GiB;
    auto process = qemu::spawn_detached(request);
    EXPECT_TRUE(process);
    nbd_ = *process;
    auto deadline = loop_.now() + patience;
    while (!fs::exists(socket) && loop_.now() < deadline) run_until_done(loop_, sleep_for(loop_, 5ms));
    return {"disk-1", socket, "disk-1", read_only, fs::file_size(folder_ + "/nbd/disk.raw")};
  }

  AsioLoop loop_;
  Poke changed_{loop_};
  std::string guest_, folder_;
  QemuOptions options_;
  std::unique_ptr<Hypervisor> hypervisor_;
  std::optional<qemu::ProcessId> nbd_;
};

TEST_F(MachineTest, WhatIsTypedReachesTheGuestAndWhatItSaysIsKeptThroughARestart) {
  ASSERT_TRUE(start(spec("vm-1")));
  ASSERT_TRUE(wait_until("vm-1", MachineState::ready));
  ASSERT_TRUE(type("vm-1", "hel"));
  ASSERT_TRUE(type("vm-1", "lo\n"));
  EXPECT_TRUE(console_has("vm-1", "init: read 'hello'")) << console("vm-1");
  restart_agent();
  EXPECT_EQ(type("vm-1", "again\n"), std::size_t{6});
  EXPECT_TRUE(console_has("vm-1", "init: read 'again'")) << console("vm-1");
  // It says more than any buffer holds, with nobody there to read: each line once, in order.
  ASSERT_TRUE(type("vm-1", "count 5000\n"));
  EXPECT_TRUE(console_has("vm-1", "init: counted to 5000")) << console("vm-1").substr(0, 2000);
  std::string counted;
  for (int i = 1; i <= 5000; ++i) counted += fmt::format("init: {} of 5000\r\n", i);
  EXPECT_TRUE(console("vm-1").contains(counted));
  ASSERT_TRUE(stop(VmId("vm-1"), patience).value_or(false));
  EXPECT_EQ(type("vm-1", "x").error().code, Code::not_found);
  ASSERT_TRUE(run_until_done(loop_, hypervisor_->forget(VmId("vm-1"))));
  EXPECT_TRUE(console("vm-1").contains("init: read 'again'")) << "it is kept";
  EXPECT_EQ(run_until_done(loop_, hypervisor_->read_console(VmId("vm-1"), 6, {}, 100)).error().code,
            Code::not_found);
  ASSERT_TRUE(start(spec("vm-1")));
  ASSERT_TRUE(wait_until("vm-1", MachineState::ready));
  ASSERT_TRUE(type("vm-1", "third\n"));
  EXPECT_TRUE(console_has("vm-1", "init: read 'third'"));
  EXPECT_TRUE(console("vm-1").contains("[ebb: started again, ")) << console("vm-1");
  EXPECT_TRUE(console("vm-1").contains("init: read 'hello'"));
}

TEST_F(MachineTest, AGuestBecomesReadyAndStopsWhenAsked) {
  auto started = start(spec("vm-1"));
  ASSERT_TRUE(started) << started.error().message;
  EXPECT_EQ(started->epoch, 5u);
  EXPECT_EQ(started->accel, "tcg");
  EXPECT_NE(started->ports.at("http"), 0);
  auto boot_began = loop_.now();
  ASSERT_TRUE(wait_until("vm-1", MachineState::ready));
  fmt::print("boot {} ms\n", to_ms(loop_.now() - boot_began));
  EXPECT_EQ(start(spec("vm-1")).error().code, Code::conflict);
  EXPECT_EQ(run_until_done(loop_, hypervisor_->forget(VmId("vm-1"))).error().code, Code::busy);
  if (geteuid() == 0) {
    struct stat info{};
    ASSERT_EQ(::stat(fmt::format("/proc/{}", process_of("vm-1").pid).c_str(), &info), 0);
    EXPECT_NE(info.st_uid, 0u) << "QEMU runs as root";
  }
  auto stop_began = loop_.now();
  auto stopped = stop(VmId("vm-1"), patience);
  fmt::print("stop {} ms\n", to_ms(loop_.now() - stop_began));
  ASSERT_TRUE(stopped);
  EXPECT_TRUE(*stopped);
  EXPECT_EQ(status("vm-1").state, MachineState::exited);
  EXPECT_TRUE(run_until_done(loop_, hypervisor_->forget(VmId("vm-1"))));
  EXPECT_TRUE(list().empty());
  EXPECT_FALSE(fs::exists(folder_of("vm-1")));
}

TEST_F(MachineTest, AKilledQemuIsNoticedAtOnceAndItsChannelKept) {
  ASSERT_TRUE(start(spec("vm-1")));
  ASSERT_TRUE(wait_for_text(folder_of("vm-1") + "/channel-witness.log", "S 3\n"));
  auto began = loop_.now();
  kill(process_of("vm-1").pid, SIGKILL);
  ASSERT_TRUE(wait_until("vm-1", MachineState::exited));
  EXPECT_LT(loop_.now() - began, 500ms);
  EXPECT_EQ(status("vm-1").error, "QEMU was killed");
  ASSERT_TRUE(run_until_done(loop_, hypervisor_->forget(VmId("vm-1"))));
  std::size_t kept = 0;
  for (const auto& entry : fs::recursive_directory_iterator(options_.state_dir + "/logs")) {
    kept += entry.path().filename() == "channel-witness.log";
  }
  EXPECT_EQ(kept, 1u);
}

TEST_F(MachineTest, AnAgentThatRestartsFindsItsMachinesAgain) {
  ASSERT_TRUE(start(spec("vm-1")));
  ASSERT_TRUE(start(spec("vm-2")));
  ASSERT_TRUE(start(deaf_spec("vm-3")));
  ASSERT_TRUE(wait_until("vm-1", MachineState::ready));
  auto before = status("vm-1");
  hypervisor_.reset();
  kill(process_of("vm-2").pid, SIGKILL);
  restart_agent();
  auto after = status("vm-1");
  EXPECT_EQ(after.state, MachineState::ready);  // known at once, without asking the guest
  EXPECT_EQ(after.ports, before.ports);
  EXPECT_EQ(after.epoch, before.epoch);
  ASSERT_TRUE(wait_until("vm-2", MachineState::exited));
  EXPECT_EQ(status("vm-3").state, MachineState::booting);
  auto stopped = stop(VmId("vm-1"), patience);
  ASSERT_TRUE(stopped);
  EXPECT_TRUE(*stopped) << "the adopted guest did not hear us";
}

TEST_F(MachineTest, AGuestThatIgnoresTheRequestIsKilledAfterTheGrace) {
  ASSERT_TRUE(start(deaf_spec("vm-1")));
  auto began = loop_.now();
  auto stopped = stop(VmId("vm-1"), 300ms);
  ASSERT_TRUE(stopped);
  EXPECT_FALSE(*stopped);
  EXPECT_GE(loop_.now() - began, 300ms);
  EXPECT_EQ(status("vm-1").state, MachineState::exited);
}

// However quickly a guest heeds its agent: who finds the machine ended must know that it was no end of the guest's own.
TEST_F(MachineTest, AStopIsOnRecordBeforeTheGuestAgentIsAsked) {
  ASSERT_TRUE(start(deaf_spec("vm-1")));
  const auto pid = process_of("vm-1").pid;
  auto heed = [&]() -> Task<Status> {
    kill(pid, SIGKILL);
    co_return Status{};
  };
  ASSERT_TRUE(run_until_done(loop_, hypervisor_->stop(VmId("vm-1"), {10s, StopSignal::guest_agent, heed})));
  EXPECT_TRUE(status("vm-1").was_stopped);
}

TEST_F(MachineTest, AGuestAgentThatRefusesOrDoesNotHelpCostsNoneOfTheGrace) {
  ASSERT_TRUE(start(spec("vm-1")));
  ASSERT_TRUE(wait_until("vm-1", MachineState::ready));
  auto refuse = []() -> Task<Status> { co_return fail(Code::invalid, "no"); };
  auto stopped =
      run_until_done(loop_, hypervisor_->stop(VmId("vm-1"), {patience, StopSignal::guest_agent, refuse}));
  EXPECT_TRUE(stopped && *stopped) << "it was asked in the automatic way";

  ASSERT_TRUE(start(deaf_spec("vm-2")));
  auto accept = []() -> Task<Status> { co_return Status{}; };
  const auto began = loop_.now();
  stopped = run_until_done(loop_, hypervisor_->stop(VmId("vm-2"), {1s, StopSignal::guest_agent, accept}));
  EXPECT_TRUE(stopped && !*stopped);
  EXPECT_GE(loop_.now() - began, 1s);
}

TEST_F(MachineTest, AGuestThatEndsByItselfIsSaidToHaveDoneSo) {
  auto s = deaf_spec("vm-1");
  s.cmdline = "console=ttyS0 panic=-1 reboot=t quiet";
  ASSERT_TRUE(start(std::move(s)));
  ASSERT_TRUE(wait_until("vm-1", MachineState::exited));
  EXPECT_NE(status("vm-1").error.find("the guest ended by itself"), std::string::npos)
      << status("vm-1").error;
}

TEST_F(MachineTest, AGuestThatNamesAStatusHasEndedWithItAlsoForALaterAgent) {
  auto started = start(spec("vm-1"));
  ASSERT_TRUE(started) << started.error().message;
  ASSERT_TRUE(wait_until("vm-1", MachineState::ready));
  ask_guest(started->ports.at("http"), "/exit/3");
  ASSERT_TRUE(wait_until("vm-1", MachineState::exited));
  for (int agents = 0; agents < 2; ++agents) {
    EXPECT_EQ(status("vm-1").exit_status, 3u);
    EXPECT_FALSE(status("vm-1").was_stopped);
    EXPECT_FALSE(status("vm-1").last_words.empty());
    restart_agent();
  }
}

// It says so, stops writing, and is asked to stop meanwhile.
TEST_F(MachineTest, AGuestThatNamedAStatusHasEndedThoughItWasStoppedThen) {
  auto started = start(spec("vm-1"));
  ASSERT_TRUE(started) << started.error().message;
  ASSERT_TRUE(wait_until("vm-1", MachineState::ready));
  ask_guest(started->ports.at("http"), "/exit/0");
  ASSERT_TRUE(stop(VmId("vm-1"), patience));
  EXPECT_FALSE(status("vm-1").was_stopped);
  EXPECT_EQ(status("vm-1").exit_status, 0u);
}

TEST_F(MachineTest, AGuestThatWasStoppedIsKnownToHaveBeenByALaterAgentToo) {
  ASSERT_TRUE(start(spec("vm-1")));
  ASSERT_TRUE(wait_until("vm-1", MachineState::ready));
  ASSERT_TRUE(stop(VmId("vm-1"), patience));
  for (int agents = 0; agents < 2; ++agents) {
    EXPECT_TRUE(status("vm-1").was_stopped);
    restart_agent();
  }
}

TEST_F(MachineTest, AGuestWithoutAControlPortCountsAsReadyAfterAWhile) {
  options_.ready_without_word = 200ms;
  restart_agent();
  ASSERT_TRUE(start(deaf_spec("vm-1")));
  EXPECT_TRUE(wait_until("vm-1", MachineState::ready));
}

TEST_F(MachineTest, APausedMachineDoesNotRunOnAndCanBeKilled) {
  ASSERT_TRUE(start(spec("vm-1")));
  ASSERT_TRUE(wait_for_text(folder_of("vm-1") + "/channel-witness.log", "S 3\n"));
  ASSERT_TRUE(run_until_done(loop_, hypervisor_->pause(VmId("vm-1"))));
  EXPECT_EQ(status("vm-1").state, MachineState::paused);
  auto size = fs::file_size(folder_of("vm-1") + "/channel-witness.log");
  restart_agent();
  EXPECT_EQ(status("vm-1").state, MachineState::paused);
  run_until_done(loop_, sleep_for(loop_, 200ms));
  EXPECT_EQ(fs::file_size(folder_of("vm-1") + "/channel-witness.log"), size);
  auto stopped = stop(VmId("vm-1"), patience);
  ASSERT_TRUE(stopped);
  EXPECT_FALSE(*stopped);
}

TEST_F(MachineTest, AHeldMachineRunsOnWhenItIsLetGoAlsoByALaterAgent) {
  const auto vm = VmId("vm-1");
  ASSERT_TRUE(start(spec("vm-1")));
  ASSERT_TRUE(wait_until("vm-1", MachineState::ready));
  ASSERT_TRUE(run_until_done(loop_, hypervisor_->pause(vm)));
  EXPECT_TRUE(status("vm-1").is_held);
  restart_agent();
  EXPECT_TRUE(status("vm-1").is_held);
  auto size = fs::file_size(folder_of("vm-1") + "/channel-witness.log");
  ASSERT_TRUE(run_until_done(loop_, hypervisor_->resume(vm)));
  EXPECT_FALSE(status("vm-1").is_held);
  EXPECT_EQ(status("vm-1").state, MachineState::ready);
  EXPECT_TRUE(wait_for_growth(folder_of("vm-1") + "/channel-witness.log", size));
  EXPECT_TRUE(run_until_done(loop_, hypervisor_->resume(vm)));  // of one that runs: nothing
}

TEST_F(MachineTest, WhatIsMissingIsNamedAndNothingIsLeft) {
  auto s = spec("vm-1");
  s.kernel = folder_ + "/no-kernel";
  auto started = start(s);
  ASSERT_FALSE(started);
  EXPECT_NE(started.error().message.find("no-kernel"), std::string::npos) << started.error().message;
  EXPECT_TRUE(list().empty());
  EXPECT_FALSE(fs::exists(folder_of("vm-1")));

  std::ofstream(folder_ + "/not-a-kernel") << "hello";
  s.kernel = folder_ + "/not-a-kernel";
  started = start(s);
  ASSERT_FALSE(started);
  EXPECT_NE(started.error().message.find("not-a-kernel"), std::string::npos) << started.error().message;

  s = spec("vm-1");
  s.disks.push_back({"disk-1", folder_ + "/no-socket", "disk-1", false, MiB});
  started = start(s);
  ASSERT_FALSE(started);
  EXPECT_TRUE(list().empty());

  options_.program = "qemu-that-is-not-installed";
  restart_agent();
  started = start(spec("vm-1"));
  ASSERT_FALSE(started);
  EXPECT_NE(started.error().message.find("qemu-that-is-not-installed is not installed"), std::string::npos);
}

TEST_F(MachineTest, APortThatIsTakenInBetweenIsReplacedByAnother) {
  int busy = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  ASSERT_EQ(bind(busy, reinterpret_cast<sockaddr*>(&address), length), 0);
  ASSERT_EQ(listen(busy, 1), 0);
  ASSERT_EQ(getsockname(busy, reinterpret_cast<sockaddr*>(&address), &length), 0);
  int looks = 0;
  options_.find_port = [&]() -> Result<std::uint16_t> {
    return ++looks == 1 ? Result<std::uint16_t>(ntohs(address.sin_port)) : find_free_port();
  };
  restart_agent();
  auto started = start(spec("vm-1"));
  ASSERT_TRUE(started) << started.error().message;
  EXPECT_EQ(looks, 2);
  EXPECT_NE(started->ports.at("http"), ntohs(address.sin_port));
  close(busy);
}

TEST_F(MachineTest, AGuestWritesItsDiskOverNbd) {
  auto s = spec("vm-1");
  s.disks.push_back(serve_disk(false));
  auto started = start(std::move(s));
  ASSERT_TRUE(started) << started.error().message;
  EXPECT_TRUE(wait_for_text(folder_of("vm-1") + "/channel-witness.log", "D 5\n"));
  auto stopped = stop(VmId("vm-1"), patience);
  ASSERT_TRUE(stopped);
  EXPECT_TRUE(*stopped);
}

TEST_F(MachineTest, AnImagesDiskIsNotWrittenThroughItsOverlay) {
  auto s = spec("vm-1");
  s.disks.push_back(serve_disk(true));
  auto started = start(std::move(s));
  ASSERT_TRUE(started) << started.error().message;
  EXPECT_TRUE(wait_for_text(folder_of("vm-1") + "/channel-witness.log", "D 5\n"));
  ASSERT_TRUE(stop(VmId("vm-1"), patience));
  EXPECT_EQ(std::system(fmt::format("cmp -s {}/disk.raw {}/nbd/disk.raw", guest_, folder_).c_str()), 0);
}

}  // namespace
}  // namespace ebb
