// A pool that holds nothing: the HEAD of a disk is made when it is read, of what the workers have open then.
#pragma once
#include "env/object_store.h"
#include "light_fleet.h"

namespace ebb::what_if {

class HeadPool final : public ObjectStore {
 public:
  // All of these outlive it.
  HeadPool(const FleetRecords& records, const Numbered<WorkerId>& workers, const Numbered<VmId>& vms);
  void set_fleet(const LightFleet* fleet) { fleet_ = fleet; }

  Task<Result<ObjectTag>> put(std::string key, SharedBytes body, PutCondition condition) override;
  Task<Result<StoredObject>> get(std::string key) override;
  Task<Result<Bytes>> get_range(std::string key, std::uint64_t offset, std::size_t length) override;

 private:
  Result<Bytes> head_of(const DiskId& id) const;

  const Numbered<WorkerId>& workers_;
  const LightFleet* fleet_ = nullptr;
  Numbered<DiskId> disks_;
  struct Kept {
    std::uint32_t vm = nobody;  // whose it is
    std::uint64_t size_bytes = 0;
    DiskClass disk_class = DiskClass::remote;
  };
  std::vector<Kept> kept_;               // by disk
  std::map<std::string, Bytes> others_;  // the pool's own format
};

}  // namespace ebb::what_if
