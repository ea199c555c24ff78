// Drains for which room has to be made: others move out of the way first.
#include "control/testing/control_world.h"

namespace ebb::control {
namespace {

constexpr std::uint64_t of(std::uint64_t mib) { return mib * MiB - machine_overhead_bytes; }

// `big` is on a and fits nowhere else, unless `small` leaves b for c.
struct Room : ::testing::Test {
  ControlWorld w{0};

  Room() {
    w.add_worker("b", 4000 * MiB);
    w.tick(3);
    w.import_image("guest");
    w.create_vm("small", Storage::object, of(2000));
    EXPECT_TRUE(w.tick_until([&] { return w.is_running("small"); }));
    w.add_worker("a", 3500 * MiB);
    w.tick(3);
    w.create_vm("big", Storage::object, of(3000));
    EXPECT_TRUE(w.tick_until([&] { return w.is_running("big"); }));
    w.add_worker("c", 2500 * MiB);
    w.tick(3);
    EXPECT_EQ(w.worker_of("small") + w.worker_of("big"), "ba");
  }
  DrainPlan plan(const std::string& options = "{}") {
    auto read = json::read_text<DrainPlan>(
        w.ask("POST", "/v1/drains",
              fmt::format(R"({{"workers":["a"],"validate_only":true,"options":{}}})", options))
            .body);
    EXPECT_TRUE(read);
    return read.value_or(DrainPlan());
  }
  std::string start() {
    auto reply = w.ask("POST", "/v1/drains", R"({"workers":["a"]})");
    EXPECT_EQ(reply.status, 201) << reply.body;
    return json::read_text<DrainView>(reply.body)->drain.id.value;
  }
  DrainView view(const std::string& id) { return w.get<DrainView>("/v1/drains/" + id); }
  const Fleet& fleet() { return w.control().owner().fleet(); }
  const Migration* move_of(const char* vm) {
    const Migration* last = nullptr;
    for (const auto& [id, m] : fleet().migrations())
      if (m.vm == VmId(vm) && (!last || minted_before(last->id.value, id.value))) last = &m;
    return last;
  }
};

TEST_F(Room, IsMadeAsThePlanSaysAndNothingIsOvercommittedOnTheWay) {
  const auto seen = plan();
  ASSERT_EQ(seen.moves.size(), 2u) << (seen.blockers.empty() ? "" : seen.blockers[0].reason);
  EXPECT_EQ(seen.moves[0].vm, VmId("small"));
  EXPECT_TRUE(seen.moves[0].makes_room);
  EXPECT_EQ(seen.moves[0].source.value + seen.moves[0].target.value, "bc");
  EXPECT_EQ(seen.moves[1].vm, VmId("big"));
  EXPECT_EQ(seen.moves[1].after, std::vector{VmId("small")});
  EXPECT_EQ(seen.moves[1].starts_ms, seen.moves[0].predicted_total_ms) << "one after the other";
  const auto id = start();
  bool is_explained = false;
  ASSERT_TRUE(w.tick_until([&] {
    for (const auto& [worker, record] : fleet().workers())
      EXPECT_TRUE(fleet().used_on(worker).fits_in(record.capacity)) << worker.value;
    const auto* small = move_of("small");
    const auto* big = move_of("big");
    if (big && big->phase != Phase::reserving) EXPECT_EQ(small->phase, Phase::done);
    for (const auto& reason : view(id).waiting_for)
      is_explained |= reason.text == "big: small has to make room on b first";
    return view(id).status == "done";
  }));
  EXPECT_TRUE(is_explained);
  EXPECT_EQ(w.worker_of("big") + w.worker_of("small"), "bc");
  EXPECT_EQ(view(id).moved, 1u) << "of those that had to leave";
}

TEST_F(Room, ThatIsBeingMadeIsNobodyElses) {
  w.workers()["c"].trouble = "its clock is wrong";  // it takes its time
  start();
  ASSERT_TRUE(w.tick_until([&] { return move_of("big") != nullptr; }));
  w.create_vm("intruder", Storage::none, of(1500));
  w.tick(20);
  EXPECT_EQ(w.worker_of("intruder"), "-") << "b has 2000 MiB that nobody uses, and 1000 to give";
  w.create_vm("guest", Storage::none, of(900));
  EXPECT_TRUE(w.tick_until([&] { return w.worker_of("guest") == "b"; }));
  w.workers()["c"].trouble.clear();
  ASSERT_TRUE(w.tick_until([&] { return w.worker_of("big") == "b" && w.is_running("big"); }));
  for (const auto& [worker, record] : fleet().workers())
    EXPECT_TRUE(fleet().used_on(worker).fits_in(record.capacity)) << worker.value;
}

TEST_F(Room, IsNotMadeIfThatIsNotWanted) {
  const auto seen = plan(R"({"make_room":false})");
  EXPECT_TRUE(seen.moves.empty());
  ASSERT_EQ(seen.blockers.size(), 1u);
}

TEST_F(Room, IsNotMadeByThoseThatMayNotMove) {
  w.ask("POST", "/v1/vms/small:edit", R"({"labels":{"app":"db"}})");
  w.ask("POST", "/v1/budgets", R"({"id":"db","selector":{"app":"db"},"away_max":0})");
  EXPECT_TRUE(plan().moves.empty());
  EXPECT_EQ(plan().blockers.size(), 1u) << "nobody else is asked, and nothing is said of him";
  w.ask("DELETE", "/v1/budgets/db");
  EXPECT_EQ(plan().moves.size(), 2u);
  w.ask("POST", "/v1/vms/small:edit", R"({"restart":"never"})");
  EXPECT_TRUE(plan().moves.empty()) << "it is left to end";
}

TEST_F(Room, ThatCannotBeMadeSendsWhoWaitsForItBackToPlanning) {
  w.workers()["c"].trouble = "its clock is wrong";
  const auto id = start();
  ASSERT_TRUE(w.tick_until([&] { return move_of("small") && move_of("small")->phase == Phase::preparing; }));
  w.ask("POST", "/v1/workers/c:cordon", R"({"reason":"clock"})");
  w.workers()["c"].trouble.clear();
  ASSERT_TRUE(w.tick_until([&] { return move_of("big")->phase == Phase::aborted; }));
  EXPECT_TRUE(move_of("big")->last_error.starts_with("no room was made on b: small stays"))
      << move_of("big")->last_error;
  EXPECT_TRUE(w.is_running("small") && w.is_running("big"));
  w.tick(20);
  EXPECT_EQ(view(id).status, "blocked");
  w.ask("POST", "/v1/workers/c:uncordon");
  EXPECT_TRUE(w.tick_until([&] { return view(id).status == "done"; }));
}

TEST_F(Room, ADrainThatIsCancelledLeavesEverybodyWhereHeIs) {
  const auto id = start();
  ASSERT_TRUE(w.tick_until([&] { return move_of("big") != nullptr; }));
  EXPECT_EQ(w.ask("POST", "/v1/drains/" + id + ":cancel").status, 200);
  ASSERT_TRUE(w.tick_until([&] { return fleet().open_migrations().empty(); }));
  EXPECT_EQ(w.worker_of("big"), "a");
  for (const auto& [worker, record] : fleet().workers())
    EXPECT_TRUE(fleet().used_on(worker).fits_in(record.capacity)) << worker.value;
}

TEST_F(Room, IsRememberedByTheNextControlPlane) {
  const auto id = start();
  ASSERT_TRUE(w.tick_until([&] { return move_of("small") && move_of("small")->phase == Phase::preparing; }));
  w.restart();
  ASSERT_TRUE(w.tick_until([&] { return view(id).status == "done"; }));
  EXPECT_EQ(w.worker_of("big") + w.worker_of("small"), "bc");
}

}  // namespace
}  // namespace ebb::control
