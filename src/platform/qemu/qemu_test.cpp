// What can be tested of machines without a guest.
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/bytes.h"
#include "platform/qemu/cpu_features.h"
#include "platform/qemu/kvm_probe.h"
#include "platform/qemu/log_rotation.h"
#include "platform/qemu/machine_record.h"
#include "platform/qemu/process.h"
#include "platform/qemu/qcow2_overlay.h"
#include "platform/qemu/qemu_command.h"

namespace ebb::qemu {
namespace {
namespace fs = std::filesystem;

struct TempFolder {
  std::string path;
  TempFolder() {
    std::string name = (fs::temp_directory_path() / "ebb-qemu-XXXXXX").string();
    path = mkdtemp(name.data());
    chmod(path.c_str(), 0755);
  }
  ~TempFolder() { fs::remove_all(path); }
  std::string operator/(const std::string& name) const { return path + "/" + name; }
};

void write_file(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}
std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

SpawnRequest shell(const TempFolder& folder, const std::string& script) {
  SpawnRequest request;
  request.argv = {"/bin/sh", "-c", script};
  request.folder = folder.path;
  request.output = "output";
  request.record = "process";
  request.run_as = *find_run_as("nobody");
  request.file_bytes_max = MiB;
  return request;
}

// Blocks until the process has ended.
void wait_for_end(const ProcessId& process) {
  AsioLoop loop;
  auto pidfd = open_pidfd(process);
  if (!pidfd) return;
  FdWatch watch(loop, pidfd->release());
  EXPECT_TRUE(run_until_done(loop, watch.readable()));
}

TEST(ProcessStat, ANameWithSpacesAndParenthesesDoesNotShiftTheFields) {
  std::string rest;
  for (int field = 4; field <= 24; ++field) rest += " " + std::to_string(field * 100);
  EXPECT_EQ(parse_process_stat("77 (a) b) (c) S" + rest), (ProcessId{77, 2200}));
  EXPECT_EQ(parse_process_stat(""), std::nullopt);
  EXPECT_EQ(parse_process_stat("77 (x"), std::nullopt);
  EXPECT_EQ(parse_process_stat("77 (x) S 1 2"), std::nullopt);
}

TEST(Spawn, AReusedPidIsNotTakenForTheProcess) {
  auto self = parse_process_stat(*read_small_file("/proc/self/stat"));
  ASSERT_TRUE(self);
  EXPECT_TRUE(is_running(*self));
  EXPECT_TRUE(open_pidfd(*self));
  ProcessId another{self->pid, self->start_ticks + 1};
  EXPECT_FALSE(is_running(another));
  EXPECT_EQ(open_pidfd(another).error().code, Code::not_found);
}

TEST(Spawn, TheProcessIsNobodysChildWithASessionOfItsOwn) {
  TempFolder folder;
  auto process = spawn_detached(shell(folder, "exec sleep 60"));
  ASSERT_TRUE(process) << process.error().message;
  EXPECT_TRUE(is_running(*process));
  EXPECT_NE(getsid(process->pid), getsid(0));
  EXPECT_NE(getpgid(process->pid), getpgid(0));
  auto stat = read_file(fmt::format("/proc/{}/stat", process->pid));
  auto parent = std::stoi(stat.substr(stat.rfind(')') + 4));
  EXPECT_NE(parent, getpid());
  EXPECT_EQ(parse_process_stat(read_file(folder / "process")), *process);
  auto pidfd = open_pidfd(*process);
  ASSERT_TRUE(pidfd);
  EXPECT_TRUE(send_signal(*pidfd, SIGKILL));
  wait_for_end(*process);
  EXPECT_FALSE(is_running(*process));
}

TEST(Spawn, TheProcessInheritsOnlyWhatItIsGiven) {
  TempFolder folder;
  int leaked = open("/dev/zero", O_RDONLY);  // without CLOEXEC
  int given = open("/dev/null", O_RDWR | O_CLOEXEC);
  auto request = shell(folder, "for n in /proc/self/fd/*; do readlink $n; done; pwd; umask");
  request.pass_fds = {given};
  auto process = spawn_detached(request);
  ASSERT_TRUE(process) << process.error().message;
  wait_for_end(*process);
  auto output = read_file(folder / "output");
  EXPECT_EQ(output.find("/dev/zero"), std::string::npos) << output;
  EXPECT_NE(output.find("/dev/null\n/"), std::string::npos) << output;
  EXPECT_NE(output.find(folder.path + "\n0077"), std::string::npos) << output;
  close(leaked), close(given);
}

TEST(Spawn, RootDropsToTheUserItWasGiven) {
  if (geteuid() != 0) GTEST_SKIP() << "not root";
  TempFolder folder;
  auto process = spawn_detached(shell(folder, "id -u; id -G"));
  ASSERT_TRUE(process);
  wait_for_end(*process);
  auto user = *find_run_as("nobody");
  EXPECT_EQ(read_file(folder / "output").find(fmt::format("{}\n{}", user->uid, user->gid)), 0u)
      << read_file(folder / "output");
}

TEST(Spawn, WhatIsMissingIsNamed) {
  TempFolder folder;
  auto request = shell(folder, "true");
  request.must_be_readable = {folder / "kernel"};
  auto missing = spawn_detached(request);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, Code::not_found);
  EXPECT_NE(missing.error().message.find(folder / "kernel"), std::string::npos) << missing.error().message;

  request = shell(folder, "true");
  request.argv[0] = folder / "no-program";
  auto no_program = spawn_detached(request);
  ASSERT_FALSE(no_program);
  EXPECT_NE(no_program.error().message.find("no-program"), std::string::npos) << no_program.error().message;

  EXPECT_EQ(find_program("no-such-program-anywhere").error().code, Code::not_found);
  if (geteuid() == 0)
    EXPECT_NE(find_run_as("no-such-user").error().message.find("no-such-user"), std::string::npos);
}

TEST(Rotation, ALogThatIsTooLongKeepsItsEndAndBeginsAnew) {
  TempFolder folder;
  auto log = folder / "console.log";
  write_file(log, "short");
  EXPECT_TRUE(rotate_log(log, 10));
  EXPECT_EQ(read_file(log), "short");
  int writer = open(log.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  EXPECT_EQ(write(writer, " 0123456789", 11), 11);
  EXPECT_TRUE(rotate_logs(folder.path, 10));
  EXPECT_EQ(read_file(log), "");
  EXPECT_EQ(read_file(log + ".1"), "0123456789");
  EXPECT_EQ(write(writer, "more", 4), 4);  // the writer goes on where the file is now
  EXPECT_EQ(read_file(log), "more");
  close(writer);
}

TEST(Rotation, OnlyTheLatestFoldersOfOldLogsAreKept) {
  TempFolder folder;
  fs::create_directories(folder / "archive");
  for (int i = 0; i < 5; ++i) {
    fs::create_directories(folder / "vm");
    write_file(folder / "vm/console.log", std::to_string(i));
    write_file(folder / "vm/machine.json", "{}");
    ASSERT_TRUE(archive_logs(folder / "vm", folder / "archive", "vm." + std::to_string(i), 3));
  }
  EXPECT_FALSE(fs::exists(folder / "archive/vm.1"));
  EXPECT_EQ(read_file(folder / "archive/vm.4/console.log"), "4");
  EXPECT_FALSE(fs::exists(folder / "archive/vm.4/machine.json"));
}

TEST(Rotation, ACrashLoopDoesNotTakeThePlaceOfOthersLogs) {
  TempFolder folder;
  fs::create_directories(folder / "archive");
  auto put_away = [&](const std::string& name) {
    fs::create_directories(folder / "vm");
    write_file(folder / "vm/console.log", "x");
    ASSERT_TRUE(archive_logs(folder / "vm", folder / "archive", name, 64));
  };
  put_away("quiet.3.1000");
  for (int i = 0; i < 100; ++i) put_away(fmt::format("loop.4.{}", 2000 + i));
  EXPECT_TRUE(fs::exists(folder / "archive/quiet.3.1000"));
  EXPECT_TRUE(fs::exists(folder / "archive/loop.4.2099"));
  EXPECT_FALSE(fs::exists(folder / "archive/loop.4.2091"));
}

TEST(Overlay, QemuTakesItForAnEmptyImageOfTheRightSize) {
  TempFolder folder;
  for (auto bytes : {std::uint64_t{512}, 64 * MiB, 513 * MiB, 100 * GiB}) {
    auto image = make_qcow2_overlay(bytes);
    ASSERT_TRUE(image);
    write_file(folder / "o.qcow2", std::string(as_text(*image)));
    ASSERT_EQ(std::system(fmt::format("qemu-img check -q {0} && qemu-img info --output=json {0} > {0}.info",
                                      folder / "o.qcow2")
                              .c_str()),
              0);
    EXPECT_NE(read_file(folder / "o.qcow2.info").find(fmt::format("\"virtual-size\": {}", bytes)),
              std::string::npos);
  }
  EXPECT_FALSE(make_qcow2_overlay(0));
  EXPECT_FALSE(make_qcow2_overlay(513));
}

MachineSpec small_spec() {
  MachineSpec spec;
  spec.vm = VmId("web-1");
  spec.epoch = 7;
  spec.kernel = "/k";
  spec.cmdline = "quiet";
  spec.memory_bytes = 128 * MiB;
  return spec;
}

TEST(Command, ADiskIsANbdClientThatReconnectsAndNeverReportsErrorsToTheGuest) {
  auto spec = small_spec();
  spec.disks.push_back({"disk-1", "/run/d.sock", "disk-1", false, GiB});
  auto text = fmt::format("{}", fmt::join(make_command(spec, {"qemu", Accel::tcg, 2596130, {}}), " "));
  for (const auto* part : {"\"reconnect-delay\":300", "\"werror\":\"stop\"", "\"rerror\":\"stop\"",
                           "\"direct\":true", "-sandbox on", "-append quiet tsc_early_khz=2596130",
                           "-no-reboot", "-m 128M", "tcg,thread=multi,tb-size=32"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << " is not in " << text;
  }
  EXPECT_EQ(text.find("netdev"), std::string::npos);
  EXPECT_EQ(text.find("qcow2"), std::string::npos);
}

TEST(Command, WhatFirmwareBootsIsAPcThatMayReboot) {
  auto spec = small_spec();
  spec.kernel.clear(), spec.cmdline.clear();
  spec.firmware = Firmware::bios;
  EXPECT_FALSE(check_spec(spec)) << "there is nothing to boot from";
  spec.disks.push_back({"disk-1", "/run/d.sock", "disk-1", false, GiB});
  spec.ports = {{"ssh", 22}};
  ASSERT_TRUE(check_spec(spec));
  auto text = [&] {
    return fmt::format(
        "{}",
        fmt::join(
            make_command(spec, {.program = "qemu", .ports = {{"ssh", 4711}}, .uefi_code = "/ovmf/code.fd"}),
            " "));
  };
  for (const auto* part :
       {"-M q35", "virtio-blk-pci", "virtio-net-pci", "virtio-serial-pci", "\"bootindex\":1"})
    EXPECT_TRUE(text().contains(part)) << part << " is not in " << text();
  for (const auto* part : {"-no-reboot", "-kernel", "-append", "pflash", "microvm"})
    EXPECT_FALSE(text().contains(part)) << part << " is in " << text();
  spec.firmware = Firmware::uefi;
  EXPECT_TRUE(text().contains("if=pflash,unit=0,format=raw,readonly=on,file=/ovmf/code.fd")) << text();
  EXPECT_TRUE(text().contains("if=pflash,unit=1,format=raw,file=uefi-vars.fd")) << text();
}

TEST(Command, PortsAreForwardedFromLoopbackOnly) {
  auto spec = small_spec();
  spec.ports = {{"http", 80}};
  auto text =
      fmt::format("{}", fmt::join(make_command(spec, {"qemu", Accel::kvm, 0, {{"http", 4711}}}), " "));
  EXPECT_NE(text.find("hostfwd=tcp:127.0.0.1:4711-:80"), std::string::npos) << text;
  EXPECT_NE(text.find("restrict=on"), std::string::npos) << text;
  EXPECT_NE(text.find("-cpu host"), std::string::npos) << text;
}

TEST(Command, AnInterfaceIsATapDeviceThatQemuFindsOpen) {
  auto spec = small_spec();
  spec.ports = {{"http", 80}};
  spec.interfaces = {{"02:00:00:00:00:01", "br0"}, {"02:00:00:00:00:02", "br1"}};
  ASSERT_TRUE(check_spec(spec));
  auto text = fmt::format(
      "{}",
      fmt::join(make_command(spec, {.program = "qemu", .ports = {{"http", 4711}}, .mtus = {9000, 1450}}),
                " "));
  EXPECT_FALSE(text.contains("host_mtu=9000")) << text;
  EXPECT_TRUE(text.contains("mac=02:00:00:00:00:02,host_mtu=1450")) << text;
  for (const auto* part : {"tap,id=lan0,fd=6,vhost=off", "netdev=lan0,mac=02:00:00:00:00:01",
                           "tap,id=lan1,fd=7,vhost=off", "netdev=lan1,mac=02:00:00:00:00:02", "hostfwd"})
    EXPECT_TRUE(text.contains(part)) << part << " is not in " << text;
  for (int i = 0; i < 4; ++i) spec.disks.push_back({"disk-1", "/run/d.sock", "disk-1", false, GiB});
  EXPECT_TRUE(check_spec(spec));
  spec.disks.push_back(spec.disks[0]);
  EXPECT_FALSE(check_spec(spec)) << "a microvm has eight places";
}

TEST(Command, NamesThatWouldLeaveTheFolderOrTheCommandLineAreRefused) {
  EXPECT_TRUE(check_spec(small_spec()));
  auto refused = [](auto change) {
    auto spec = small_spec();
    change(spec);
    return !check_spec(spec);
  };
  EXPECT_TRUE(refused([](MachineSpec& s) { s.vm = VmId("../etc"); }));
  EXPECT_TRUE(refused([](MachineSpec& s) { s.channels = {"a,b"}; }));
  EXPECT_TRUE(refused([](MachineSpec& s) { s.channels = {"control"}; }));
  EXPECT_TRUE(refused([](MachineSpec& s) { s.channels = {"a", "a"}; }));
  EXPECT_TRUE(refused([](MachineSpec& s) { s.ports = {{"http", 0}}; }));
  EXPECT_TRUE(refused([](MachineSpec& s) { s.cpus = 0; }));
  EXPECT_TRUE(refused([](MachineSpec& s) { s.memory_bytes = 1; }));
  EXPECT_TRUE(refused([](MachineSpec& s) { s.disks.resize(7); }));
}

TEST(Record, ARecordOfAnotherVersionIsRefused) {
  TempFolder folder;
  MachineRecord record;
  record.spec = small_spec();
  record.ports["http"] = 4711;
  ASSERT_TRUE(save_record(folder.path, record));
  auto loaded = load_record(folder.path);
  ASSERT_TRUE(loaded);
  EXPECT_EQ(loaded->spec.epoch, 7u);
  EXPECT_EQ(loaded->ports, record.ports);
  write_file(folder / "machine.json", R"({"format":2})");
  EXPECT_EQ(load_record(folder.path).error().code, Code::invalid);
  write_file(folder / "machine.json", "{");
  EXPECT_FALSE(load_record(folder.path));
}

TEST(CpuFeatures, AreThoseOfTheFirstProcessor) {
  EXPECT_EQ(parse_cpu_flags(
                "processor\t: 0\nflags\t\t: sse2 avx2 sse2\nbugs\t\t: x\n\nprocessor\t: 1\nflags\t\t: aes\n"),
            (std::vector<std::string>{"avx2", "sse2"}));
  for (auto none : {"", "flags", "flags\t\t:\n", "model name : flags\n"})
    EXPECT_TRUE(parse_cpu_flags(none).empty()) << none;
  EXPECT_TRUE(std::ranges::is_sorted(emulated_cpu_features()));
}

TEST(KvmProbe, WithoutADeviceMachinesAreEmulatedAtOnce) {
  TempFolder folder;
  AsioLoop loop;
  KvmProbe probe(loop, Logger(), {folder.path, "boot", std::nullopt, 0, 8s, folder / "no-kvm"});
  EXPECT_EQ(run_until_done(loop, probe.decide("/bin/false", "/kernel")), Accel::tcg);
  EXPECT_NE(probe.explanation().find("no-kvm"), std::string::npos);
}

// A QEMU that hangs, says nothing or dies: the verdict is tcg, and it is remembered until the host reboots.
TEST(KvmProbe, AGuestThatDoesNotComeUpMeansEmulationUntilTheNextBootOfTheHost) {
  TempFolder folder;
  write_file(folder / "kvm", "");
  write_file(folder / "kernel", "");
  write_file(folder / "qemu", fmt::format("#!/bin/sh\necho run >> {}\nexec sleep 60\n", folder / "runs"));
  chmod((folder / "qemu").c_str(), 0755);
  AsioLoop loop;
  KvmProbe::Settings settings{folder / "probe", "boot-1", std::nullopt, 0, 200ms, folder / "kvm"};
  for (const auto* boot : {"boot-1", "boot-1", "boot-2"}) {
    settings.boot_id = boot;
    KvmProbe probe(loop, Logger(), settings);
    std::vector<Task<Accel>> callers;
    for (int i = 0; i < 3; ++i) callers.push_back(probe.decide(folder / "qemu", folder / "kernel"));
    auto all = run_until_done(loop, when_all(loop, std::move(callers)));
    EXPECT_EQ(all, std::vector<Accel>(3, Accel::tcg));
  }
  EXPECT_EQ(read_file(folder / "runs"), "run\nrun\n");
}

// The host's kernel did not come up: that may be the kernel, and is no verdict for images that bring their own.
TEST(KvmProbe, TheHostsKernelDecidesNothingByFailing) {
  TempFolder folder;
  write_file(folder / "kvm", "");
  write_file(folder / "kernel", "");
  write_file(folder / "qemu",
             "#!/bin/sh\ncase \"$*\" in *probe/kernel*) exit 1;; esac\n"
             "echo 'Unable to mount root fs on unknown-block' >> console.log\n");
  chmod((folder / "qemu").c_str(), 0755);
  AsioLoop loop;
  KvmProbe::Settings settings{folder / "probe", "boot", std::nullopt, 0, 8s, folder / "kvm"};
  for (const auto* host_kernel : {"kernel", "no-such-kernel"}) {
    settings.host_kernel = folder / host_kernel;
    KvmProbe probe(loop, Logger(), settings);
    EXPECT_EQ(run_until_done(loop, probe.decide(folder / "qemu", "")), Accel::tcg);
    EXPECT_EQ(run_until_done(loop, probe.decide(folder / "qemu", "")), Accel::tcg);
    EXPECT_EQ(run_until_done(loop, probe.decide(folder / "qemu", folder / "kernel")), Accel::kvm);
    EXPECT_EQ(run_until_done(loop, probe.decide(folder / "qemu", "")), Accel::kvm);
    std::filesystem::remove(folder / "probe/verdict.json");
  }
}

TEST(KvmProbe, AGuestThatLooksForItsRootHasBooted) {
  TempFolder folder;
  write_file(folder / "kvm", "");
  write_file(folder / "kernel", "");
  write_file(
      folder / "qemu",
      "#!/bin/sh\necho 'Kernel panic: VFS: Unable to mount root fs on unknown-block' >> console.log\n");
  chmod((folder / "qemu").c_str(), 0755);
  AsioLoop loop;
  KvmProbe probe(loop, Logger(), {folder / "probe", "boot", std::nullopt, 0, 8s, folder / "kvm"});
  EXPECT_EQ(run_until_done(loop, probe.decide(folder / "qemu", folder / "kernel")), Accel::kvm);
}

}  // namespace
}  // namespace ebb::qemu
