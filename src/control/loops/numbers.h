// The fleet as placement::evacuate wants it: in numbers. The VMs that leave come first, each by itself; of the others only what
// they take, a VM for each worker, and those whose group has one that leaves.
#pragma once
#include "control/loops/candidates.h"
#include "placement/evacuation.h"

namespace ebb::control {

class Numbers final {
 public:
  // All of these outlive it. `workers` in the order of their ids, as are `sources`, all of whose VMs leave.
  Numbers(const Fleet& fleet, const std::vector<placement::Candidate>& workers,
          const std::vector<WorkerId>& sources);

  // False: it asks for more than numbers can say, and is not added.
  bool add_leaving(const placement::Request& request, const Vm& vm);
  // One that runs elsewhere, and may make room; once all that leave are added. Others that run there are one VM.
  void add_movable(const placement::Request& request, const Vm& vm);
  // Once all of these are added.
  void finish();
  // Those that were added, by their numbers; further numbers are of what stays.
  const std::vector<VmId>& names() const { return names_; }

  const placement::FleetNumbers& numbers() const { return numbers_; }
  const std::vector<placement::WorkerIndex>& sources() const { return sources_; }
  // Of `numbers()`; who belongs together need not stay near workers that are being emptied.
  placement::Placer placer() const;

 private:
  // Something that a worker has, or has not.
  struct Label {
    std::string key, value;
    auto operator<=>(const Label&) const = default;
  };
  struct CpuFeature {
    std::string name;
    auto operator<=>(const CpuFeature&) const = default;
  };
  using Offer = std::variant<PoolId, NetworkId, Firmware, Label, CpuFeature>;
  static std::vector<Offer> offers_needed(const placement::Request& request);
  static bool has(const Worker& worker, const Offer& offer);
  // A bit for each; nullopt: more of them than there are bits.
  std::optional<placement::Features> bits_of(const std::vector<Offer>& offers);
  placement::Features offered_by(const Worker& worker) const;

  // Values by their index, each once.
  template <class T>
  class Distinct {
   public:
    template <class Value>
    std::uint32_t of(std::vector<Value>& all, const T& key, const Value& value) {
      auto [at, is_new] = index_.try_emplace(key, static_cast<std::uint32_t>(all.size()));
      if (is_new) all.push_back(value);
      return at->second;
    }
    const std::map<T, std::uint32_t>& index() const { return index_; }

   private:
    std::map<T, std::uint32_t> index_;
  };
  using Alike = std::pair<placement::Amounts, placement::Features>;

  placement::WorkerIndex index_of(const WorkerId& id) const;
  placement::VmIndex add_vm(const placement::Shape& shape, std::uint32_t group, placement::WorkerIndex at);
  bool add(const placement::Request& request, const Vm& vm);
  std::uint32_t group_of(const Vm& vm);
  void add_workers();
  void add_domains();
  void add_rest_of_groups();

  const Fleet& fleet_;
  const std::vector<placement::Candidate>& workers_;
  placement::FleetNumbers numbers_;
  Distinct<Alike> kinds_, shapes_;
  Distinct<GroupId> groups_;
  std::map<Offer, unsigned> bits_;
  std::vector<VmId> names_;
  std::set<VmId> named_;
  std::vector<placement::Amounts> named_on_;  // by worker: what those that may make room take there
  std::vector<placement::WorkerIndex> sources_;
  std::vector<bool> is_source_;
};

}  // namespace ebb::control
