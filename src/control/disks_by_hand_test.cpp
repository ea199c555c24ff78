// Disks that are made, given to VMs, taken away and grown by an operator.
#include "control/testing/control_world.h"

namespace ebb::control {
namespace {

struct ByHand : ControlWorld {
  explicit ByHand(Duration disk_retention = {}) : ControlWorld(3, 2 * GiB, disk_retention) {
    import_image("guest");
  }
  std::string drain(const std::string& worker, const std::string& more = "") {
    auto reply = ask("POST", "/v1/drains", fmt::format(R"({{"workers":["{}"]{}}})", worker, more));
    EXPECT_EQ(reply.status, 201) << reply.body;
    return json::read_text<DrainView>(reply.body)->drain.id.value;
  }
  DrainView drain_view(const std::string& id) { return get<DrainView>("/v1/drains/" + id); }
  bool all_run(std::initializer_list<const char*> names) {
    return tick_until([&] { return std::ranges::all_of(names, [&](auto* n) { return is_running(n); }); });
  }
  HttpResponse create(const std::string& body) { return ask("POST", "/v1/disks", body); }
  HttpResponse attach(const std::string& disk, const std::string& vm) {
    return ask("POST", "/v1/disks/" + disk + ":attach", fmt::format(R"({{"vm":"{}"}})", vm));
  }
  HttpResponse detach(const std::string& disk) { return ask("POST", "/v1/disks/" + disk + ":detach"); }
  HttpResponse grow(const std::string& disk, std::uint64_t bytes) {
    return ask("POST", "/v1/disks/" + disk + ":grow", fmt::format(R"({{"size_bytes":{}}})", bytes));
  }
  Disk disk(const std::string& name) { return get<Disk>("/v1/disks/" + name); }
  Vm vm(const std::string& name) { return get<VmView>("/v1/vms/" + name).vm; }
  bool is_made(const std::string& name) {
    return tick_until([&] { return disk(name).state == DiskState::ready; });
  }
  void make(const std::string& name) {
    EXPECT_EQ(create(fmt::format(R"({{"name":"{}","size_bytes":8388608}})", name)).status, 201);
    EXPECT_TRUE(is_made(name));
  }
  void stop(const std::string& name) {
    ASSERT_EQ(ask("POST", "/v1/vms/" + name + ":stop").status, 200);
    ASSERT_TRUE(tick_until([&] { return !vm(name).worker; }));
  }
  void start(const std::string& name) {
    ASSERT_EQ(ask("POST", "/v1/vms/" + name + ":start").status, 200);
    ASSERT_TRUE(all_run({name.c_str()}));
  }
  std::vector<DiskId> wanted_at_home(const std::string& name) {
    std::vector<DiskId> ids;
    for (const auto& wanted : workers()[worker_of(name)].wanted.vms)
      if (wanted.vm.value == name)
        for (const auto& d : wanted.disks) ids.push_back(d.id);
    return ids;
  }
};

TEST(DisksByHand, ADiskIsMadeOnceWhoeverAsksAgain) {
  ByHand w;
  const std::string wish = R"({"name":"data","size_bytes":8388608,"disk_class":"local"})";
  EXPECT_EQ(w.create(wish).status, 201);
  const auto id = w.disk("data").id;
  EXPECT_EQ(w.create(wish).status, 200);
  EXPECT_TRUE(w.is_made("data"));
  EXPECT_EQ(w.create(wish).status, 200);
  EXPECT_EQ(w.disk(id.value).name, "data") << "by its id, too";
  EXPECT_EQ(w.disk("data").disk_class, DiskClass::local);
  EXPECT_FALSE(w.disk("data").vm);
  EXPECT_EQ(w.create(R"({"name":"data","size_bytes":4096})").status, 409) << "another one of that name";
  EXPECT_EQ(w.ask("DELETE", "/v1/disks/data").status, 204);
  ASSERT_TRUE(w.tick_until([&] { return w.ask("GET", "/v1/disks/data").status == 404; }));
  EXPECT_EQ(w.create(wish).status, 201);
  EXPECT_NE(w.disk("data").id, id) << "an id never comes again, a name may";
}

TEST(DisksByHand, WhatCannotBeMadeIsRefusedWithItsField) {
  ByHand w;
  const std::pair<const char*, const char*> cases[] = {
      {R"({"name":"Bad name","size_bytes":4096})", "no name for a disk"},
      {R"({"name":"a"})", "'size_bytes' says"},
      {R"({"name":"a","size_bytes":0})", "multiple of 4096"},
      {R"({"name":"a","size_bytes":4097})", "multiple of 4096"},
      {R"({"name":"a","size_bytes":4096,"pool":"none"})", "no pool 'none'"},
      {R"({"name":"a","from":{"disk":"none","snapshot":"x"}})", "no disk 'none'"},
      {R"({"name":"a","size_bytes":4096,"disk_class":"tape"})", "no class of disks"},
  };
  for (const auto& [body, why] : cases) {
    auto reply = w.create(body);
    EXPECT_EQ(reply.status, 400) << body;
    EXPECT_TRUE(reply.body.contains(why)) << reply.body;
  }
}

TEST(DisksByHand, AnAttachedDiskGoesWhereItsVmGoesAndOutlivesIt) {
  ByHand w;
  w.make("data"), w.make("more");
  w.create_vm("a");
  ASSERT_TRUE(w.all_run({"a"}));
  EXPECT_EQ(w.attach("data", "a").status, 409) << "it runs";
  EXPECT_EQ(w.attach("data", "nobody").status, 404);
  EXPECT_EQ(w.attach("none", "a").status, 404);
  w.stop("a");
  EXPECT_EQ(w.attach("data", "a").status, 201);
  EXPECT_EQ(w.attach("data", "a").status, 200);
  EXPECT_EQ(w.attach("more", "a").status, 201);
  w.start("a");
  const std::vector<DiskId> all{*w.vm("a").disk, w.disk("data").id, w.disk("more").id};
  EXPECT_EQ(w.wanted_at_home("a"), all);
  EXPECT_EQ(w.detach("data").status, 409) << "it runs";
  EXPECT_EQ(w.ask("DELETE", "/v1/disks/data").status, 409);
  // Grown while its VM runs: wanted so by whoever has it.
  EXPECT_EQ(w.grow("data", 16 << 20).status, 201);
  EXPECT_EQ(w.grow("data", 16 << 20).status, 200);
  EXPECT_EQ(w.grow("data", 8 << 20).status, 400) << "it does not shrink";
  EXPECT_EQ(w.disk("data").size_bytes, 16u << 20);
  w.tick();
  for (const auto& wanted : w.workers()[w.worker_of("a")].wanted.vms)
    EXPECT_EQ(wanted.disks.at(1).size_bytes, 16u << 20);

  const auto home = w.worker_of("a");
  const auto drain = w.drain(home);
  ASSERT_TRUE(w.tick_until([&] { return w.drain_view(drain).drain.state == DrainState::done; }));
  EXPECT_EQ(w.wanted_at_home("a"), all) << "and there";

  w.stop("a");
  EXPECT_EQ(w.detach("more").status, 201);
  EXPECT_EQ(w.detach("more").status, 200);
  w.create_vm("b");
  ASSERT_TRUE(w.all_run({"b"}));
  w.stop("b");
  EXPECT_EQ(w.attach("data", "b").status, 409) << "it is a's";
  EXPECT_EQ(w.attach("more", "b").status, 201);
  EXPECT_EQ(w.detach(w.vm("a").disk->value).status, 409) << "it is a's own";
  EXPECT_EQ(w.ask("DELETE", "/v1/vms/a").status, 200);
  ASSERT_TRUE(w.tick_until([&] { return w.ask("GET", "/v1/vms/a").status == 404; }));
  EXPECT_EQ(w.disk("data").state, DiskState::ready);
  EXPECT_FALSE(w.disk("data").vm);
  EXPECT_EQ(w.attach("data", "b").status, 201);
  w.start("b");
  EXPECT_EQ(w.wanted_at_home("b").size(), 3u);
}

TEST(DisksByHand, AStatelessVmWithADiskMovesBySealAndOpen) {
  ByHand w;
  w.make("data");
  w.create_vm("a", Storage::none);
  ASSERT_TRUE(w.all_run({"a"}));
  w.stop("a");
  ASSERT_EQ(w.attach("data", "a").status, 201);
  w.start("a");
  const auto drain = w.drain(w.worker_of("a"));
  ASSERT_TRUE(w.tick_until([&] { return w.drain_view(drain).drain.state == DrainState::done; }));
  EXPECT_EQ(w.wanted_at_home("a").back(), w.disk("data").id);
  EXPECT_EQ(w.drain_view(drain).migrations.at(0).migration.mechanism, Mechanism::pointer);
}

TEST(DisksByHand, AVmTakesNoMoreDisksThanItsMachineHasPlacesFor) {
  ByHand w;
  w.create_vm("a");
  ASSERT_TRUE(w.all_run({"a"}));
  w.stop("a");
  for (int i = 1; i <= 5; ++i) {
    const auto name = fmt::format("d{}", i);
    w.make(name);
    EXPECT_EQ(w.attach(name, "a").status, i <= 4 ? 201 : 409);
  }
}

TEST(DisksByHand, ADiskGrowsWhileNobodyHoldsItAndItsVmWaitsForThat) {
  ByHand w;
  w.make("data");
  w.create_vm("a");
  ASSERT_TRUE(w.all_run({"a"}));
  w.stop("a");
  ASSERT_EQ(w.attach("data", "a").status, 201);
  EXPECT_TRUE(w.grow("data", 4 << 20).body.contains("does not shrink"));
  EXPECT_EQ(w.grow("data", 4097).status, 400);
  EXPECT_EQ(w.grow("data", 8 << 20).status, 200) << "as large as it is";
  w.store().set_outage(true);
  EXPECT_EQ(w.grow("data", 64 << 20).status, 201);
  EXPECT_EQ(w.grow("data", 64 << 20).status, 200);
  EXPECT_EQ(w.grow("data", 128 << 20).status, 409) << "one at a time";
  ASSERT_EQ(w.ask("POST", "/v1/vms/a:start").status, 200);
  w.tick(500);
  EXPECT_FALSE(w.vm("a").worker);
  const auto why = w.get<WhyAnswer>("/v1/vms/a:why").reasons.at(0);
  EXPECT_TRUE(why.text.contains("grows to 64 MiB: ")) << why.text;
  EXPECT_EQ(why.who, "operator: look at the pool");
  w.store().set_outage(false);
  ASSERT_TRUE(w.tick_until([&] { return !w.disk("data").growth; }, 2000));
  EXPECT_EQ(w.disk("data").size_bytes, 64ull << 20);
  ASSERT_TRUE(w.all_run({"a"}));
  for (const auto& wanted : w.workers()[w.worker_of("a")].wanted.vms)
    EXPECT_EQ(wanted.disks.at(1).size_bytes, 64ull << 20);
  w.stop("a");
  const auto own = w.vm("a").disk->value;
  EXPECT_EQ(w.grow(own, 1ull << 30).status, 201) << "a VM's own, too";
  w.restart();
  ASSERT_TRUE(w.tick_until([&] { return w.disk(own).size_bytes == 1ull << 30; }))
      << "though the control plane restarts";
}

TEST(DisksByHand, ADiskBeginsAsASnapshotOfAnother) {
  ByHand w;
  w.make("data");
  ASSERT_EQ(w.ask("POST", "/v1/disks/data/snapshots", R"({"name":"monday"})").status, 201);
  ASSERT_TRUE(w.tick_until([&] {
    const auto d = w.disk("data");
    return d.find_snapshot("monday") && d.find_snapshot("monday")->state == SnapshotState::ready;
  }));
  EXPECT_EQ(w.create(R"({"name":"copy","from":{"disk":"data","snapshot":"tuesday"}})").status, 409);
  EXPECT_EQ(
      w.create(R"({"name":"copy","from":{"disk":"data","snapshot":"monday"},"size_bytes":4096})").status,
      400);
  EXPECT_EQ(w.create(R"({"name":"copy","from":{"disk":"data","snapshot":"monday"}})").status, 201);
  EXPECT_TRUE(w.is_made("copy"));
  EXPECT_EQ(w.disk("copy").size_bytes, 8ull << 20);
  EXPECT_EQ(w.disk("copy").origin->disk, w.disk("data").id);
  EXPECT_EQ(w.ask("DELETE", "/v1/disks/data/snapshots/monday").status, 409);
}

TEST(DisksByHand, WhatIsRemovedIsKeptForAWhileAndCanBeBroughtBack) {
  ByHand w(10min);
  w.make("data");
  const auto data = w.disk("data").id.value;
  EXPECT_EQ(w.ask("DELETE", "/v1/disks/data").status, 204);
  EXPECT_EQ(w.ask("DELETE", "/v1/disks/" + data).status, 204) << "again is no more";
  w.make("data");  // the name is free
  EXPECT_EQ(w.disk(data).state, DiskState::ready);
  ASSERT_TRUE(w.disk(data).removal);
  w.create_vm("a");
  ASSERT_TRUE(w.all_run({"a"}));
  const auto own = w.vm("a").disk->value;
  w.stop("a");
  EXPECT_TRUE(w.attach(data, "a").body.contains("ebb disks keep " + data));
  EXPECT_EQ(w.ask("POST", "/v1/disks/" + data + ":keep", R"({"name":"data"})").status, 409)
      << "that is another";
  EXPECT_EQ(w.ask("POST", "/v1/disks/" + data + ":keep", R"({"name":"old-data"})").status, 201);
  EXPECT_EQ(w.ask("POST", "/v1/disks/old-data:keep", R"({"name":"old-data"})").status, 200);
  EXPECT_EQ(w.attach("old-data", "a").status, 201);

  // A VM's own disk goes with it, and comes back as another one's.
  EXPECT_EQ(w.ask("DELETE", "/v1/vms/a").status, 200);
  ASSERT_TRUE(w.tick_until([&] { return w.ask("GET", "/v1/vms/a").status == 404; }));
  EXPECT_EQ(w.disk(own).removal->vm, VmId("a"));
  EXPECT_FALSE(w.disk("old-data").removal) << "lent, not owned";
  const auto why = w.get<WhyAnswer>("/v1/disks/" + own + ":why");
  EXPECT_TRUE(why.headline.contains("its data is kept until")) << why.headline;
  EXPECT_TRUE(why.reasons.at(0).text.contains("the disk of a")) << why.reasons.at(0).text;
  auto run_with = [&](const std::string& disk) {
    return w.ask("POST", "/v1/vms",
                 fmt::format(R"({{"id":"b","spec":{{"image":"guest"}},"disk":"{}"}})", disk));
  };
  EXPECT_TRUE(run_with(own).body.contains("is removed"));
  EXPECT_EQ(w.ask("POST", "/v1/disks/" + own + ":keep", "{}").status, 201);
  EXPECT_EQ(run_with("none").status, 400);
  EXPECT_EQ(run_with(own).status, 201);
  EXPECT_EQ(run_with(own).status, 200) << "the same wish";
  EXPECT_EQ(w.vm("b").disk->value, own);
  ASSERT_TRUE(w.all_run({"b"}));
  EXPECT_EQ(w.wanted_at_home("b"), std::vector{DiskId(own)});
  EXPECT_EQ(w.detach(own).status, 409) << "it is b's own";
}

TEST(DisksByHand, WhatIsKeptForAWhileGoesAfterThatAndNotBefore) {
  ByHand w(10s);
  w.make("data"), w.make("more");
  const auto data = w.disk("data").id.value, more = w.disk("more").id.value;
  EXPECT_EQ(w.ask("DELETE", "/v1/disks/data").status, 204);
  EXPECT_EQ(w.ask("DELETE", "/v1/disks/more?now=true").status, 204);
  ASSERT_TRUE(w.tick_until([&] { return w.ask("GET", "/v1/disks/" + more).status == 404; }));
  w.restart();
  w.tick(100);
  EXPECT_EQ(w.ask("GET", "/v1/disks/" + data).status, 200) << "after 5 of 10 s";
  w.tick(200);
  EXPECT_EQ(w.ask("GET", "/v1/disks/" + data).status, 404);
}

// A take-over leaves a cut of each disk: each may have lost its last writes.
TEST(DisksByHand, ADeadWorkerCostsEachDiskOfClassLocalItsBound) {
  ByHand w;
  ASSERT_EQ(w.create(R"({"name":"data","size_bytes":8388608,"disk_class":"local"})").status, 201);
  ASSERT_TRUE(w.is_made("data"));
  w.create_vm("a");
  ASSERT_TRUE(w.all_run({"a"}));
  w.stop("a");
  ASSERT_EQ(w.attach("data", "a").status, 201);
  w.start("a");
  const auto home = w.worker_of("a");
  w.workers()[home].answers = false, w.workers()[home].vms.clear();
  w.tick(400);
  EXPECT_TRUE(w.get<WhyAnswer>("/v1/vms/a:why").reasons.size() >= 2)
      << "the worker, and what its loss would cost";
  w.drain(home, R"(,"options":{"source_dead":true})");
  ASSERT_TRUE(w.tick_until([&] { return w.worker_of("a") != home && w.is_running("a"); }));
  for (const auto& d : {w.disk("data"), w.disk(w.vm("a").disk->value)})
    EXPECT_TRUE(std::ranges::any_of(d.snapshots, [](const auto& s) { return s.cut_of.has_value(); }))
        << d.id.value;
}

}  // namespace
}  // namespace ebb::control
