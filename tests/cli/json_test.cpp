// What a script may rely on, of every command there is: with --json stdout is JSON; the exit codes are those
// of the README.
#include <fmt/ranges.h>
#include <fstream>
#include <gtest/gtest.h>
#include <sstream>

#include "base/text.h"
#include "fake_world.h"
#include "kernel_file.h"
#include "model/export_types.h"
#include "sample_fleet.h"

namespace ebb {
namespace {

using fake::refuse;
using fake::reply;

Disk disk_of_db() {
  Disk disk;
  disk.size_bytes = 1ull << 30;
  disk.id = DiskId("d-1"), disk.vm = VmId("db-1"), disk.state = DiskState::ready;
  disk.snapshots = {{"monday", "r-1", SnapshotState::ready, sample::now, {}, {}}};
  return disk;
}

// A control plane that has one of everything, and agrees to everything.
struct JsonTest : testing::Test {
  fake::World world;
  std::set<std::string> removed, stopped;

  JsonTest() {
    world.files.content["/vmlinux"] = kernel_of(4096);
    world.http.handler = [this](const HttpRequest& request) { return answer(request); };
  }
  HttpResponse answer(const HttpRequest& request) {
    const auto path = request.target.substr(0, request.target.find('?'));
    const auto parts = split(path, '/');
    const auto kind = std::string(parts.at(2));
    const bool is_one = parts.size() > 3;
    if (path.ends_with(":why")) return reply(WhyAnswer{"workers/worker-1", "it is held", {}});
    if (kind.starts_with("workers:")) return reply(Page<WorkerView>{sample::workers(), {}});
    if (kind == "workers") return about_workers(request, is_one);
    if (kind == "vms") return about_vms(request, path, is_one);
    if (kind == "disks") return about_disks(request, path, is_one);
    if (kind == "images") return about_images(request, is_one);
    if (kind == "networks") return about_networks(request, is_one);
    if (kind == "drains") return about_drains(request, is_one);
    if (kind == "holds") return reply(Page<Hold>{{sample_hold()}, {}});
    if (kind == "budgets") return about_budgets(request, is_one);
    if (kind == "groups") return about_groups(request, is_one);
    if (kind == "migrations") {
      auto done = sample::migration("M-1", "db-1", sample::all_phases);
      return is_one ? reply(done) : reply(Page<MigrationView>{{done}, {}});
    }
    if (kind == "cell") return reply(CellView{7, sample::now, {}, {}});
    if (kind == "events") {
      auto entry = json::write_text(JournalEntry{1, 0, "vm.created", "vms/a", "made"});
      return {200, {}, fmt::format("id: 1\ndata: {}\n\nid: 2\ndata: {}\n\n", entry, entry), {}};
    }
    return refuse(404, "not_found", path);
  }
  static HttpResponse about_workers(const HttpRequest& request, bool is_one) {
    if (!is_one) return reply(Page<WorkerView>{sample::workers(), {}});
    return request.method == "DELETE" ? HttpResponse{204, {}, "", {}} : reply(sample::workers()[0]);
  }
  HttpResponse about_vms(const HttpRequest& request, const std::string& path, bool is_one) {
    if (path.ends_with("/logs")) {
      std::string text;
      for (const SessionEvent& event :
           {SessionEvent{.at = ConsolePoint{}}, SessionEvent{.output = "aGVsbG8K"},
            SessionEvent{.end = SessionEnd{}}})
        text += fmt::format("data: {}\n\n", json::write_text(event));
      return {200, {}, text, {}};
    }
    if (path.ends_with("/exec")) {
      const SessionEvent end{.end = SessionEnd{SessionEndKind::complete, "", 0}};
      return {200, {}, fmt::format("data: {}\n\n", json::write_text(end)), {}};
    }
    auto view = sample::vm("db-1");
    view.vm.disk = DiskId("d-1");
    const auto subject = path.substr(0, path.rfind(':'));
    if (path.ends_with(":stop")) stopped.insert(subject);
    if (path.ends_with(":start")) stopped.erase(subject);
    if (stopped.contains(subject)) view.vm.worker.reset(), view.vm.desired = VmDesired::stopped;
    if (path.ends_with(":migrate")) return reply(sample::migration("M-1", "db-1", sample::all_phases), 201);
    if (request.method == "DELETE") removed.insert(path);
    if (request.method == "GET" && removed.contains(path)) return refuse(404, "not_found", path);
    if (request.method == "GET" && !is_one) return reply(Page<VmView>{{view}, {}});
    return reply(view, request.method == "POST" && !is_one ? 201 : 200);
  }
  static HttpResponse about_disks(const HttpRequest& request, const std::string& path, bool is_one) {
    if (!is_one && request.method == "GET") return reply(Page<Disk>{{disk_of_db()}, {}});
    if (path.ends_with(":log")) return reply(DiskLogView{DiskId("d-1"), {}});
    if (path.ends_with(":plan-restore"))
      return reply(RestorePlanView{DiskId("d-1"), "monday", "before", 0, 0, 0, 0, {}});
    return reply(disk_of_db(), path.ends_with("/snapshots") && request.method == "POST" ? 201 : 200);
  }
  static HttpResponse about_images(const HttpRequest& request, bool is_one) {
    Image image;
    image.id = ImageId("base"), image.state = ImageState::ready;
    if (request.method == "PUT" || request.method == "DELETE") return {204, {}, "", {}};
    return is_one || request.method == "POST" ? reply(image) : reply(Page<Image>{{image}, {}});
  }
  static HttpResponse about_networks(const HttpRequest& request, bool is_one) {
    VmNetwork network;
    network.id = NetworkId("lan"), network.subnet = "10.20.0.0/24";
    if (request.method == "DELETE") return {204, {}, "", {}};
    return is_one || request.method == "POST" ? reply(network) : reply(Page<VmNetwork>{{network}, {}});
  }
  static Hold sample_hold() {
    return {HoldId("hold-1"), WorkerId("worker-1"), "operator", "fans", sample::now, std::nullopt};
  }
  static HttpResponse about_budgets(const HttpRequest& request, bool is_one) {
    BudgetView view{Budget{BudgetId("web"), {{"app", "web"}}, 1}, 3, 0, 1, ""};
    if (request.method == "DELETE") return {204, {}, "", {}};
    return is_one || request.method == "POST" ? reply(view) : reply(Page<BudgetView>{{view}, {}});
  }
  static HttpResponse about_groups(const HttpRequest& request, bool is_one) {
    GroupView view{Group{GroupId("web"), {{DomainLevel::rack, 1}}}, 3, {}};
    if (request.method == "DELETE") return {204, {}, "", {}};
    return is_one || request.method == "POST" ? reply(view) : reply(Page<GroupView>{{view}, {}});
  }
  static HttpResponse about_drains(const HttpRequest& request, bool is_one) {
    if (is_one && request.body.contains("\"validate_only\":true")) return reply(sample::plan());
    if (is_one) return reply(sample::ended_drain());
    if (request.method == "GET") return reply(Page<DrainView>{{sample::ended_drain()}, {}});
    auto create = json::read_text<CreateDrain>(request.body).value();
    return create.validate_only ? reply(sample::plan()) : reply(sample::ended_drain(), 201);
  }

  // Every command by its words, as --help lists them.
  std::set<std::string> commands(std::vector<std::string> under = {}) {
    std::set<std::string> found;
    auto args = under;
    args.push_back("--help");
    EXPECT_EQ(world.ebb(args), 0);
    std::istringstream help(world.screen.data);
    bool listed = false;
    std::vector<std::string> names;
    for (std::string line; std::getline(help, line);) {
      if (line.empty()) listed = false;
      if (listed && line.starts_with("  ") && line[2] != ' ')
        names.push_back(line.substr(2, line.find_first_of(" ,", 2) - 2));
      if (line.starts_with("Subcommands:")) listed = true;
    }
    if (!under.empty()) found.insert(fmt::format("{}", fmt::join(under, " ")));
    for (const auto& name : names) {
      auto deeper = under;
      deeper.push_back(name);
      found.merge(commands(deeper));
    }
    return found;
  }
};

using Arguments = std::vector<std::string>;
const std::map<std::string, std::vector<Arguments>> calls{
    {"drain", {{"worker-1"}, {"worker-1", "--plan"}, {"worker-1", "--detach"}, {"--rack", "r1", "--plan"}}},
    {"pause", {{"D-1"}}},
    {"resume", {{"D-1"}}},
    {"undo", {{"D-1"}, {"D-1", "--plan"}, {"D-1", "--detach"}}},
    {"groups", {{}}},
    {"groups ls", {{}}},
    {"groups show", {{"web"}}},
    {"groups set", {{"web", "--apart", "rack", "--apart", "worker:2", "--together", "region"}}},
    {"groups rm", {{"web"}}},
    {"holds", {{}}},
    {"holds ls", {{}}},
    {"budgets", {{}}},
    {"budgets ls", {{}}},
    {"budgets show", {{"web"}}},
    {"budgets set", {{"web", "--label", "app=web", "--away-max", "1", "--healthy", "30s"}}},
    {"budgets rm", {{"web"}}},
    {"drains", {{}}},
    {"drains ls", {{}}},
    {"drains show", {{"D-1"}, {"D-1", "--watch"}}},
    {"cancel", {{"D-1"}}},
    {"events", {{}}},
    {"export", {{}, {"-o", "/fleet.export"}}},
    {"exec", {{"db-1", "--", "/bin/true"}}},
    {"logs", {{"db-1"}}},
    {"workers", {{}}},
    {"workers ls", {{}}},
    {"workers show", {{"worker-1"}}},
    {"workers rm", {{"worker-1"}}},
    {"cordon",
     {{"worker-1", "--reason", "fan"},
      {"worker-1", "--reason", "fan", "--for", "2h"},
      {"--rack", "r7", "--reason", "fan"}}},
    {"uncordon", {{"worker-1"}, {"worker-1", "worker-2"}}},
    {"return", {{"worker-1"}, {"worker-1", "--detach"}, {"worker-1", "--untested"}}},
    {"why", {{"worker-1"}, {"drains/D-1"}}},
    {"vms", {{}, {"--tenant", "acme", "--label", "app=shop", "--worker", "worker-1"}}},
    {"vms ls", {{}, {"--tenant", "acme"}}},
    {"vms show", {{"db-1"}}},
    {"vms edit", {{"db-1", "--restart", "never"}}},
    {"run", {{"a", "--image", "base", "--wait"}, {"a", "--image", "base", "--count", "2"}}},
    {"start", {{"db-1"}, {"db-1", "--wait"}}},
    {"stop", {{"db-1"}}},
    {"restart", {{"db-4"}, {"db-5", "--wait"}}},
    {"rm", {{"db-2"}, {"db-3", "--wait"}}},
    {"migrate", {{"db-1"}, {"db-1", "--wait"}}},
    {"migrations", {{}}},
    {"migrations ls", {{"--vm", "db-1"}}},
    {"migrations show", {{"M-1"}}},
    {"networks", {{}}},
    {"networks ls", {{}}},
    {"networks show", {{"lan"}}},
    {"networks create", {{"lan", "--subnet", "10.20.0.0/24", "--range", "10.20.0.10-10.20.0.99"}}},
    {"networks rm", {{"lan"}}},
    {"disks", {{}}},
    {"disks ls", {{}}},
    {"disks show", {{"d-1"}}},
    {"disks log", {{"db-1"}}},
    {"disks rm", {{"d-1"}, {"d-1", "--now"}}},
    {"disks keep", {{"d-1", "--name", "data"}}},
    {"disks create", {{"data", "--size", "1GiB", "--wait"}, {"data", "--from", "db-1@monday"}}},
    {"disks attach", {{"data", "db-1"}}},
    {"disks detach", {{"data"}}},
    {"disks resize", {{"db-1", "1GiB", "--wait"}}},
    {"images", {{}}},
    {"images ls", {{}}},
    {"images show", {{"base"}}},
    {"images rm", {{"base"}}},
    {"images import", {{"base", "--kernel", "/vmlinux"}}},
    {"snapshot", {{"db-1", "--name", "monday", "--wait"}}},
    {"snapshots", {{"db-1"}}},
    {"snapshots rm", {{"db-1", "monday"}}},
    {"fork", {{"db-1@monday", "x"}, {"db-1@monday", "x", "y"}}},
    {"restore", {{"db-1", "monday"}, {"db-1", "monday", "--plan"}}},
};

TEST_F(JsonTest, EveryCommandPrintsOneJsonDocumentAndNothingElseOnStdout) {
  for (const auto& command : commands()) {
    if (command == "pool") continue;        // does nothing by itself
    if (command == "pool check") continue;  // needs a store of its own: PoolCheckTest
    if (command == "disks scrub" || command == "disks rebuild") continue;  // and so do these: DiskCheckTest
    if (command == "console") continue;                                    // is typed at, and has no JSON
    if (command == "port-forward") continue;                               // goes on for ever
    ASSERT_TRUE(calls.contains(command)) << "no call of 'ebb " << command << "' here";
  }
  for (const auto& [command, all] : calls) {
    for (const auto& more : all) {
      Arguments args{"--json"};
      for (auto word : split(command, ' ')) args.emplace_back(word);
      args.insert(args.end(), more.begin(), more.end());
      auto said = fmt::format("ebb {}", fmt::join(args, " "));
      EXPECT_EQ(world.ebb(args), 0) << said << ": " << world.screen.talk;
      std::istringstream lines(world.screen.data);
      EXPECT_FALSE(world.screen.data.empty()) << said;
      // One document a line.
      const bool is_of_lines =
          command == "events" || command == "logs" || (command == "export" && more.empty());
      if (!is_of_lines) {
        EXPECT_TRUE(json::parse(world.screen.data)) << said << ": " << world.screen.data;
        continue;
      }
      for (std::string line; std::getline(lines, line);) EXPECT_TRUE(json::parse(line)) << line;
    }
  }
}

TEST_F(JsonTest, WhatIsRemovedIsNamed) {
  for (const auto& [args, subject] : std::vector<std::pair<Arguments, std::string>>{
           {{"workers", "rm", "worker-1"}, "workers/worker-1"},
           {{"images", "rm", "base"}, "images/base"},
           {{"rm", "db-1", "--wait"}, "vms/db-1"},
       }) {
    auto plain = args, with_json = args;
    with_json.push_back("--json");
    EXPECT_EQ(world.ebb(with_json), 0);
    auto value = json::parse(world.screen.data);
    ASSERT_TRUE(value) << world.screen.data;
    EXPECT_EQ(value->at("removed").as_string(), subject);
    EXPECT_EQ(world.ebb(plain), 0);
    EXPECT_EQ(world.screen.data, "");
  }
}

TEST_F(JsonTest, TheReadmeAndTheHelpListTheSameExitCodes) {
  using Codes = std::vector<std::pair<std::string, std::string>>;
  Codes in_help, in_readme;
  ASSERT_EQ(world.ebb({"--help"}), 0);
  std::istringstream help(world.screen.data);
  bool listed = false;
  for (std::string line; std::getline(help, line);) {
    if (listed && line.starts_with("  ")) {
      auto code = line.substr(2, line.find(' ', 2) - 2);
      in_help.emplace_back(code, line.substr(line.find_first_not_of(' ', 2 + code.size())));
    }
    if (line == "Exit codes:") listed = true;
  }
  std::ifstream readme(EBB_ROOT "/README.md");
  listed = false;
  for (std::string line; std::getline(readme, line);) {
    if (!line.starts_with("|")) listed = false;
    if (listed && !line.starts_with("| -")) {
      std::erase(line, '`');
      auto cells = split(line, '|');
      auto trimmed = [](std::string_view cell) { return std::string(cell.substr(1, cell.size() - 2)); };
      in_readme.emplace_back(trimmed(cells.at(1)), trimmed(cells.at(2)));
    }
    if (line == "| exit code | means |") listed = true;
  }
  EXPECT_EQ(in_help.size(), 9u);
  EXPECT_EQ(in_readme, in_help);
}

}  // namespace
}  // namespace ebb
