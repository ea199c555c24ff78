#include "placement/residual_index.h"

#include <algorithm>

namespace ebb::placement {

ResidualIndex::ResidualIndex(std::size_t dimensions, Axis rows, Axis columns, std::size_t workers,
                             std::size_t sorts)
    : dimensions_(dimensions),
      rows_(rows, rows_max),
      columns_(columns, std::clamp<std::size_t>(std::max(cells_min, cells_per_worker * workers) /
                                                    std::max<std::size_t>(1, sorts * rows_.steps),
                                                64, columns_max)),
      words_a_row_((columns_.steps + 63) / 64) {
  CHECK(dimensions >= 2 && dimensions <= dimensions_max && rows.dimension != columns.dimension);
  const auto rows_of_all = sorts * rows_.steps;
  CHECK(rows_of_all * columns_.steps < none);
  bits_.resize(rows_of_all * words_a_row_);
  words_in_use_.resize(rows_of_all);
  head_.assign(rows_of_all * columns_.steps, none);
  links_.resize(workers);
  sort_of_.resize(workers);
  cell_of_.assign(workers, none);
  free_.resize(workers * dimensions);
}

void ResidualIndex::add(WorkerIndex worker, std::uint32_t sort, const Free& free) {
  CHECK(!holds(worker));
  sort_of_[worker] = sort;
  std::copy_n(free.begin(), dimensions_, &free_[worker * dimensions_]);
  link(worker, cell_for(worker));
}

void ResidualIndex::remove(WorkerIndex worker) {
  if (holds(worker)) unlink(worker);
}

void ResidualIndex::put_back(WorkerIndex worker) {
  if (!holds(worker)) link(worker, cell_for(worker));
}

void ResidualIndex::change(WorkerIndex worker, const Amounts& needs, bool gives_back) {
  auto* free = &free_[worker * dimensions_];
  for (std::size_t d = 0; d < dimensions_; ++d)
    free[d] += gives_back ? std::int64_t{needs[d]} : -std::int64_t{needs[d]};
  const auto cell = cell_for(worker);
  if (!holds(worker) || cell == cell_of_[worker]) return;
  unlink(worker);
  link(worker, cell);
}

void ResidualIndex::link(WorkerIndex worker, std::uint32_t cell) {
  const auto next = head_[cell];
  links_[worker] = {none, next};
  head_[cell] = worker, cell_of_[worker] = cell;
  if (next != none) {
    links_[next].previous = worker;
    return;
  }
  const auto row = cell / columns_.steps, column = cell % columns_.steps;
  bits_[row * words_a_row_ + column / 64] |= 1ull << (column % 64);
  words_in_use_[row] |= 1ull << (column / 64);
}

void ResidualIndex::unlink(WorkerIndex worker) {
  const auto cell = cell_of_[worker];
  const auto [previous, next] = links_[worker];
  if (next != none) links_[next].previous = previous;
  if (previous != none) links_[previous].next = next;
  cell_of_[worker] = none;
  if (previous != none) return;
  head_[cell] = next;
  if (next != none) return;
  const auto row = cell / columns_.steps, column = cell % columns_.steps;
  auto& word = bits_[row * words_a_row_ + column / 64];
  word &= ~(1ull << (column % 64));
  if (word == 0) words_in_use_[row] &= ~(1ull << (column / 64));
}

}  // namespace ebb::placement
