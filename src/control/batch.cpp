#include "control/batch.h"

namespace ebb::control {

void Batch::put(Record record) { puts_.push_back(std::move(record)); }

void Batch::journal(std::string kind, std::string subject, std::string text) {
  journal_.push_back({0, now_, std::move(kind), std::move(subject), std::move(text)});
}

void Batch::effect(Effect effect) { effects_.push_back(std::move(effect)); }
void Batch::effect_done(std::string key) { effects_done_.push_back(std::move(key)); }

Epoch Batch::mint_epoch() {
  minted_ = true;
  return ++cell_.last_epoch;
}

std::string Batch::mint_id(std::string_view prefix) {
  minted_ = true;
  return fmt::format("{}-{}", prefix, ++cell_.last_id);
}

void Batch::close() {
  if (std::exchange(minted_, false)) puts_.push_back(cell_);
}

CommitBatch Batch::to_commit(std::uint64_t expected_revision) const {
  CommitBatch commit;
  commit.expected_revision = expected_revision;
  for (const auto& record : puts_) {
    auto json = std::visit([](const auto& r) { return json::write_text(r); }, record);
    commit.puts.push_back({std::string(kind_of(record)), id_of(record), std::move(json)});
  }
  for (const auto& key : erases_) commit.erases.emplace_back(key.kind, key.id);
  for (auto entry : journal_) {
    entry.revision = expected_revision + 1;
    commit.journal.push_back(json::write_text(entry));
  }
  for (const auto& effect : effects_) commit.effects_add.push_back({effect.key, json::write_text(effect)});
  commit.effects_done = effects_done_;
  return commit;
}

}  // namespace ebb::control
