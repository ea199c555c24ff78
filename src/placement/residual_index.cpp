#include "placement/residual_index.h"

#include <algorithm>

namespace ebb::placement {

ResidualIndex::ResidualIndex(std::size_t dimensions, Axis rows, Axis columns, std::size_t workers,
                             std::size_t sorts)
    : rows_(rows, rows_max),
      columns_(columns, std::clamp<std::size_t>(std::max(cells_min, cells_per_worker * workers) /
                                                    std::max<std::size_t>(1, sorts * rows_.steps),
                                                64, columns_max)),
      words_a_row_((columns_.steps + 63) / 64) {
  CHECK(dimensions >= 2 && dimensions <= dimensions_max && rows.dimension != columns.dimension);
  const auto rows_of_all = sorts * rows_.steps;
  CHECK(rows_of_all * columns_.steps < none);
  bits_.resize(rows_of_all * words_a_row_);
  words_in_use_.resize(rows_of_all);
  further_at_.resize(dimensions);
  for (std::size_t d = 0; d < dimensions; ++d) {
    further_at_[d] = further_.size();
    if (d != rows.dimension && d != columns.dimension) further_.push_back(d);
  }
  head_.assign(rows_of_all * columns_.steps, none);
  workers_.resize(workers);
  further_free_.resize(workers * further_.size());
}

void ResidualIndex::add(WorkerIndex worker, std::uint32_t sort, const Free& free) {
  CHECK(!holds(worker));
  workers_[worker].sort = sort;
  workers_[worker].free = {free[rows_.axis.dimension], free[columns_.axis.dimension]};
  for (std::size_t i = 0; i < further_.size(); ++i)
    further_free_[worker * further_.size() + i] = free[further_[i]];
  link(worker, cell_for(worker));
}

void ResidualIndex::remove(WorkerIndex worker) {
  if (holds(worker)) unlink(worker);
}

void ResidualIndex::put_back(WorkerIndex worker) {
  if (!holds(worker)) link(worker, cell_for(worker));
}

void ResidualIndex::change(WorkerIndex worker, const Amounts& needs, bool gives_back) {
  const auto change_of = [&](std::size_t d) {
    return gives_back ? std::int64_t{needs[d]} : -std::int64_t{needs[d]};
  };
  auto& free = workers_[worker].free;
  free[0] += change_of(rows_.axis.dimension), free[1] += change_of(columns_.axis.dimension);
  for (std::size_t i = 0; i < further_.size(); ++i)
    further_free_[worker * further_.size() + i] += change_of(further_[i]);
  const auto cell = cell_for(worker);
  if (!holds(worker) || cell == workers_[worker].cell) return;
  unlink(worker);
  link(worker, cell);
}

void ResidualIndex::link(WorkerIndex worker, std::uint32_t cell) {
  const auto next = head_[cell];
  auto& one = workers_[worker];
  one.cell = cell, one.previous = none, one.next = next;
  head_[cell] = worker;
  if (next != none) {
    workers_[next].previous = worker;
    return;
  }
  const auto row = cell / columns_.steps, column = cell % columns_.steps;
  bits_[row * words_a_row_ + column / 64] |= 1ull << (column % 64);
  words_in_use_[row] |= 1ull << (column / 64);
}

void ResidualIndex::unlink(WorkerIndex worker) {
  const auto cell = std::exchange(workers_[worker].cell, none);
  const auto previous = workers_[worker].previous, next = workers_[worker].next;
  if (next != none) workers_[next].previous = previous;
  if (previous != none) workers_[previous].next = next;
  if (previous != none) return;
  head_[cell] = next;
  if (next != none) return;
  const auto row = cell / columns_.steps, column = cell % columns_.steps;
  auto& word = bits_[row * words_a_row_ + column / 64];
  word &= ~(1ull << (column % 64));
  if (word == 0) words_in_use_[row] &= ~(1ull << (column / 64));
}

}  // namespace ebb::placement
