#include "disk/testing/disk_world.h"

namespace ebb::disk {
namespace {
using namespace testing;

// Whose credentials are good for nothing, while `refuses`.
class Refusing final : public ObjectStore {
 public:
  Refusing(ObjectStore& store, bool& refuses) : store_(store), refuses_(refuses) {}
  Task<Result<ObjectTag>> put(std::string key, SharedBytes body, PutCondition condition) override {
    if (refuses_) co_return fail(Code::invalid, "put {}: status 403, AccessDenied", key);
    co_return co_await store_.put(std::move(key), std::move(body), std::move(condition));
  }
  Task<Result<StoredObject>> get(std::string key) override {
    if (refuses_) co_return fail(Code::invalid, "get {}: status 403, AccessDenied", key);
    co_return co_await store_.get(std::move(key));
  }
  Task<Result<Bytes>> get_range(std::string key, std::uint64_t offset, std::size_t length) override {
    if (refuses_) co_return fail(Code::invalid, "get {}: status 403, AccessDenied", key);
    co_return co_await store_.get_range(std::move(key), offset, length);
  }

 private:
  ObjectStore& store_;
  bool& refuses_;
};

// As with a key that was revoked: the operator mends it, and no guest has seen an error.
TEST(RefusalTest, AGuestWaitsWhileTheStoreRefusesAndSeesNoError) {
  DiskWorld w;
  SimWorker a{"worker-a"};
  bool refuses = false;
  w.wrap_store = [&](sim::SimProcess& process, ObjectStore& store) -> ObjectStore* {
    return &process.make<Refusing>(store, refuses);
  };
  ASSERT_TRUE(w.create_disk() && w.boot(a) && w.open(a, 1));
  ASSERT_TRUE(w.write(a, 1, 7) && w.seal(a, 1) && w.boot(a) && w.open(a, 2));
  refuses = true;
  std::optional<Result<Bytes>> read;
  std::optional<Status> flushed;
  Scope guest(a.process->loop());
  auto device = a.daemon->device(disk_id);
  guest.spawn([](std::shared_ptr<BlockDevice> d, std::optional<Result<Bytes>>* out) -> Task<void> {
    out->emplace(co_await d->read(block_bytes, block_bytes));
  }(device, &read));
  guest.spawn([](std::shared_ptr<BlockDevice> d, std::optional<Status>* out) -> Task<void> {
    (void)co_await d->write(2 * block_bytes, stamped(8, 2));
    out->emplace(co_await d->flush());
  }(device, &flushed));
  w.run_for(2min);
  EXPECT_FALSE(read || flushed);
  EXPECT_EQ(w.state_of(a), DiskSeen::open);
  auto waits = a.daemon->status().disks.at(0).waiting_for;
  EXPECT_TRUE(waits.contains("AccessDenied")) << waits;
  refuses = false;
  w.run_for(10s);
  ASSERT_TRUE(read && flushed);
  ASSERT_TRUE(*read) << read->error().message;
  EXPECT_EQ(**read, stamped(7, 1));
  EXPECT_TRUE(*flushed);
}

}  // namespace
}  // namespace ebb::disk
