// Networks that VMs join: who gets which address, and where such VMs run.
#include "control/testing/control_world.h"

namespace ebb::control {
namespace {

struct Lan : ControlWorld {
  Lan() {
    import_image("guest");
    register_with("w1", {NetworkId("lan")}), register_with("w2", {NetworkId("lan"), NetworkId("open")});
  }
  void register_with(const std::string& name, std::vector<NetworkId> networks) {
    auto view = get<WorkerView>("/v1/workers/" + name);
    Registration r{view.worker.id,       view.worker.boot_id, "test", {},
                   view.worker.capacity, view.worker.pools,   {},     std::move(networks)};
    EXPECT_EQ(ask("POST", "/v1/agent/register", json::write_text(r), "join-token-0").status, 200);
  }
  HttpResponse create_network(const std::string& body) { return ask("POST", "/v1/networks", body); }
  void make_lan() {
    EXPECT_EQ(create_network(R"({"id":"lan","subnet":"10.20.0.0/29","gateway":"10.20.0.1"})").status, 201);
  }
  HttpResponse run(const std::string& name, const std::string& networks) {
    return ask("POST", "/v1/vms",
               fmt::format(R"({{"id":"{}","spec":{{"image":"guest","storage":"none","networks":{}}}}})", name,
                           networks));
  }
  NetworkInterface interface_of(const std::string& name) {
    auto vm = get<VmView>("/v1/vms/" + name).vm;
    EXPECT_TRUE(vm.interfaces && !vm.interfaces->empty()) << name;
    return vm.interfaces ? vm.interfaces->at(0) : NetworkInterface();
  }
  std::optional<WantedVm> wanted_at_home(const std::string& name) {
    for (const auto& wanted : workers()[worker_of(name)].wanted.vms)
      if (wanted.vm.value == name) return wanted;
    return std::nullopt;
  }
};

TEST(Networks, AreMadeOnceWhoeverAsksAgain) {
  Lan w;
  const std::string wish = R"({"id":"lan","subnet":"10.20.0.0/24"})";
  EXPECT_EQ(w.create_network(wish).status, 201);
  EXPECT_EQ(w.create_network(wish).status, 200);
  EXPECT_EQ(w.create_network(R"({"id":"lan","subnet":"10.21.0.0/24"})").status, 409);
  EXPECT_EQ(w.create_network(R"({"id":"lan2","subnet":"10.21.0.0"})").status, 400);
  EXPECT_EQ(w.get<Page<VmNetwork>>("/v1/networks").items.size(), 1u);
  EXPECT_EQ(w.get<VmNetwork>("/v1/networks/lan").subnet, "10.20.0.0/24");
  w.restart();
  EXPECT_EQ(w.get<VmNetwork>("/v1/networks/lan").subnet, "10.20.0.0/24");
  EXPECT_EQ(w.ask("DELETE", "/v1/networks/lan").status, 204);
  EXPECT_EQ(w.ask("GET", "/v1/networks/lan").status, 404);
}

TEST(Networks, AVmKeepsItsInterfaceWhereverItRuns) {
  Lan w;
  w.make_lan();
  EXPECT_EQ(w.run("a", R"([{"network":"lan"}])").status, 201);
  ASSERT_TRUE(w.tick_until([&] { return w.is_running("a"); }));
  const auto before = w.interface_of("a");
  EXPECT_EQ(before.address, "10.20.0.2");
  const auto home = w.worker_of("a");
  EXPECT_NE(home, "w3") << "which has no such network";
  EXPECT_EQ(w.wanted_at_home("a")->interfaces, std::vector{before});
  EXPECT_TRUE(w.wanted_at_home("a")->cmdline.ends_with(
      fmt::format("ebb.network={},10.20.0.2/29,10.20.0.1", before.mac)));

  EXPECT_EQ(w.ask("POST", "/v1/drains", fmt::format(R"({{"workers":["{}"]}})", home)).status, 201);
  ASSERT_TRUE(w.tick_until([&] { return w.is_running("a") && w.worker_of("a") != home; }));
  EXPECT_NE(w.worker_of("a"), "w3");
  EXPECT_EQ(w.interface_of("a"), before);
  EXPECT_EQ(w.wanted_at_home("a")->interfaces, std::vector{before});
}

TEST(Networks, NoTwoVmsHaveAnAddressAndARefusedOneLeavesNothing) {
  Lan w;
  w.make_lan();
  EXPECT_EQ(w.run("a", R"([{"network":"lan","address":"10.20.0.3","mac":"02:00:00:00:00:0A"}])").status, 201);
  EXPECT_EQ(w.run("a", R"([{"network":"lan","address":"10.20.0.3","mac":"02:00:00:00:00:0A"}])").status, 200)
      << "the same";
  EXPECT_EQ(w.interface_of("a").mac, "02:00:00:00:00:0a");
  EXPECT_EQ(w.run("b", R"([{"network":"lan","address":"10.20.0.3"}])").status, 409);
  EXPECT_EQ(w.run("b", R"([{"network":"lan","mac":"02:00:00:00:00:0a"}])").status, 409);
  EXPECT_EQ(w.run("b", R"([{"network":"lan","address":"10.20.0.1"}])").status, 400);
  EXPECT_EQ(w.run("b", R"([{"network":"lan"},{"network":"lan"}])").status, 400);
  EXPECT_EQ(w.run("b", R"([{"network":"none"}])").status, 400);
  EXPECT_EQ(w.ask("GET", "/v1/vms/b").status, 404);
  for (const char* name : {"b", "c", "d", "e"}) EXPECT_EQ(w.run(name, R"([{"network":"lan"}])").status, 201);
  std::set<std::string> addresses;
  for (const char* name : {"a", "b", "c", "d", "e"}) addresses.insert(*w.interface_of(name).address);
  EXPECT_EQ(addresses.size(), 5u);
  auto full = w.run("f", R"([{"network":"lan"}])");
  EXPECT_EQ(full.status, 409);
  EXPECT_TRUE(full.body.contains("no address left")) << full.body;
  EXPECT_EQ(w.ask("DELETE", "/v1/networks/lan").status, 409);

  EXPECT_EQ(w.ask("DELETE", "/v1/vms/c").status, 200);
  ASSERT_TRUE(w.tick_until([&] { return w.ask("GET", "/v1/vms/c").status == 404; }));
  EXPECT_EQ(w.run("f", R"([{"network":"lan"}])").status, 201) << "what was c's is free";
}

TEST(Networks, ANetworkThatNoWorkerHasIsNotWaitedForForEver) {
  Lan w;
  EXPECT_EQ(w.create_network(R"({"id":"lonely"})").status, 201);
  auto reply = w.run("a", R"([{"network":"lonely"}])");
  EXPECT_EQ(reply.status, 400);
  EXPECT_TRUE(reply.body.contains("[networks.lonely]")) << reply.body;
}

TEST(Networks, AVmWaitsWhereTheOnlyWorkerOfItsNetworkIsHeldAndSaysSo) {
  Lan w;
  EXPECT_EQ(w.create_network(R"({"id":"open"})").status, 201);
  EXPECT_EQ(w.ask("POST", "/v1/workers/w2:cordon", R"({"reason":"test"})").status, 200);
  EXPECT_EQ(w.run("a", R"([{"network":"open"}])").status, 201);
  w.tick(20);
  EXPECT_EQ(w.worker_of("a"), "-");
  auto why = w.ask("GET", "/v1/vms/a:why").body;
  EXPECT_TRUE(why.contains("has no network open")) << why;
  EXPECT_EQ(w.ask("POST", "/v1/workers/w2:uncordon").status, 200);
  ASSERT_TRUE(w.tick_until([&] { return w.is_running("a"); }));
  EXPECT_FALSE(w.interface_of("a").address) << "a DHCP server's";
}

}  // namespace
}  // namespace ebb::control
