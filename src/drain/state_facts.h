// What a plan was made from, so that it is carried out only on the same state, and so that what is different can be told. Of each worker
// of the fleet: kept in numbers, for there may be a hundred thousand.
#pragma once
#include "model/fleet.h"

namespace ebb::drain {

class StateFacts {
 public:
  // Of a plan of `drained`.
  StateFacts(const Fleet& fleet, const Seen& seen, const std::vector<WorkerId>& drained);

  // 16 hexadecimal digits; the same for the same facts.
  std::string hash() const;
  // "holds of worker-2: 0, now 1", a line each.
  std::vector<std::string> differences(const StateFacts& now) const;

 private:
  struct OfWorker {
    WorkerId id;
    std::uint32_t holds = 0;
    bool answers = false;
    Resources used{}, capacity{};
    std::uint32_t pools = 0, networks = 0, labels = 0;  // in texts_
  };
  // By what each is called; none for the text of nothing.
  std::map<std::string, std::string> named(const OfWorker& worker) const;
  std::string bytes_of(const OfWorker& worker) const;
  std::uint32_t text(std::string words);
  void add_worker(const Fleet& fleet, const Seen& seen, const Worker& worker, bool with_labels);
  // True if it matters which labels workers have.
  bool add_vms_of(const Fleet& fleet, const WorkerId& worker);

  std::vector<OfWorker> workers_;              // by id
  std::map<std::string, std::string> others_;  // of what is drained, and of the budgets
  std::vector<std::string> texts_{""};         // each once
  std::map<std::string, std::uint32_t> text_ids_{{"", 0}};
};

}  // namespace ebb::drain
