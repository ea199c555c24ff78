#include "control/batch.h"

namespace ebb::control {

void Batch::put(Record record) {
  auto json = std::visit([](const auto& r) { return json::write_text(r); }, record);
  texts_.push_back({std::string(kind_of(record)), id_of(record), std::move(json)});
  bytes_ += texts_.back().kind.size() + texts_.back().id.size() + texts_.back().json.size();
  puts_.push_back(std::move(record));
}

void Batch::journal(std::string kind, std::string subject, std::string text) {
  journal_.push_back({0, now_, std::move(kind), std::move(subject), std::move(text)});
  bytes_ += json::write_text(journal_.back()).size();
}

void Batch::effect(Effect effect) {
  bytes_ += effect.key.size() + json::write_text(effect).size();
  effects_.push_back(std::move(effect));
}

void Batch::effect_done(std::string key) {
  bytes_ += key.size();
  effects_done_.push_back(std::move(key));
}

Epoch Batch::mint_epoch() {
  minted_ = true;
  return ++cell_.last_epoch;
}

std::string Batch::mint_id(std::string_view prefix) {
  minted_ = true;
  return fmt::format("{}-{}", prefix, ++cell_.last_id);
}

bool Batch::is_full() const { return ops() >= commit_ops_max - 20 || bytes_ >= commit_bytes_max / 2; }

void Batch::close() {
  if (std::exchange(minted_, false)) put(cell_);
}

CommitBatch Batch::to_commit(std::uint64_t expected_revision) const {
  CommitBatch commit;
  commit.expected_revision = expected_revision;
  commit.puts = texts_;
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
