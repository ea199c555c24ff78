// What one decision wants to change: records, journal and effects of one commit. Reads go to the fleet as it
// is: a decision that needs to see its own change is two decisions.
#pragma once
#include "control/effects/effect_types.h"
#include "model/fleet.h"
#include "store/record_store.h"

namespace ebb::control {

class Batch {
 public:
  Batch(const Fleet& fleet, WallMs now) : cell_(fleet.cell()), now_(now) {}

  void put(Record record);
  template <class T>
  void erase(const T& record) {
    erases_.push_back({std::string(kind_of(record)), record.id.value});
    bytes_ += erases_.back().kind.size() + erases_.back().id.size();
  }
  // A line of the journal; `subject` as in "workers/worker-1".
  void journal(std::string kind, std::string subject, std::string text);
  void effect(Effect effect);
  void effect_done(std::string key);
  // Never given out before, in the life of the cell.
  Epoch mint_epoch();
  std::string mint_id(std::string_view prefix);

  WallMs now() const { return now_; }
  bool empty() const { return ops() == 0; }
  // No more should be added: what is left is for the next commit. Leaves room for the few operations of one
  // more step; control/limits.h keeps each of them small enough.
  bool is_full() const;
  std::size_t ops() const {
    return puts_.size() + erases_.size() + journal_.size() + effects_.size() + effects_done_.size();
  }

  // ---- for the Owner ----
  const std::vector<Record>& puts() const { return puts_; }
  const std::vector<RecordKey>& erases() const { return erases_; }
  const std::vector<JournalEntry>& journal() const { return journal_; }
  const std::vector<Effect>& effects() const { return effects_; }
  const std::vector<std::string>& effects_done() const { return effects_done_; }
  CommitBatch to_commit(std::uint64_t expected_revision) const;
  // Adds the cell's own record if ids or epochs were minted. Called once, before the commit.
  void close();

 private:
  Cell cell_;
  bool minted_ = false;
  WallMs now_;
  std::size_t bytes_ = 0;  // of what was added, as the store counts them
  std::vector<Record> puts_;
  std::vector<StoredRecord> texts_;  // of puts_, in the same order
  std::vector<RecordKey> erases_;
  std::vector<JournalEntry> journal_;
  std::vector<Effect> effects_;
  std::vector<std::string> effects_done_;
};

}  // namespace ebb::control
