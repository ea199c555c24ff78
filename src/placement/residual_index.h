// Workers by what is free on them, for best fit: who has room for so much, and has the least left over then?
//
// For each sort of workers a grid over two dimensions, the scarcest: a row for each amount free in the first, a column for each in the
// second, and in each cell the workers that have so much free. Bits say which cells of a row hold anybody, so the next one that is large
// enough is found in a few steps. Within a cell, and in all further dimensions, each worker is looked at by itself.
#pragma once
#include <bit>
#include <optional>

#include "base/check.h"
#include "placement/fleet_numbers.h"

namespace ebb::placement {

class ResidualIndex final {
 public:
  struct Axis {
    std::size_t dimension = 0;
    Amount max = 0;     // of what may be free; more counts as that
    Amount unit = 1;    // which all amounts are multiples of: no finer steps than that
    double weight = 1;  // of a unit that is left over
  };
  struct Fit {
    WorkerIndex worker = none;
    double leftover = 0;  // weighted, of the two dimensions, to the step below
  };

  // `workers`, `sorts`: how many there may be.
  ResidualIndex(std::size_t dimensions, Axis rows, Axis columns, std::size_t workers, std::size_t sorts);

  // Free amounts: below 0 where more is used than there is; nothing fits there, and what leaves fills the hole first.
  using Free = std::array<std::int64_t, dimensions_max>;
  void add(WorkerIndex worker, std::uint32_t sort, const Free& free);
  // Its amounts are still counted; it is found no more.
  void remove(WorkerIndex worker);
  void put_back(WorkerIndex worker);
  void take(WorkerIndex worker, const Amounts& needs) { change(worker, needs, false); }
  void give_back(WorkerIndex worker, const Amounts& needs) { change(worker, needs, true); }
  bool holds(WorkerIndex worker) const { return workers_[worker].cell != none; }
  // 0 also where it is less.
  Amount free(WorkerIndex worker, std::size_t dimension) const {
    if (dimension == rows_.axis.dimension) return amount(workers_[worker].free[0]);
    if (dimension == columns_.axis.dimension) return amount(workers_[worker].free[1]);
    return amount(further_free(worker)[further_at_[dimension]]);
  }
  bool fits(WorkerIndex worker, const Amounts& needs) const {
    const auto& free = workers_[worker].free;
    if (free[0] < needs[rows_.axis.dimension] || free[1] < needs[columns_.axis.dimension]) return false;
    for (std::size_t i = 0; i < further_.size(); ++i)
      if (further_free(worker)[i] < needs[further_[i]]) return false;
    return true;
  }

  // The worker with the least left over, less than `below`, of those for which `allowed` is true.
  template <class Allowed>
  Fit best_fit(std::uint32_t sort, const Amounts& needs, double below, Allowed allowed) const {
    const auto need_a = needs[rows_.axis.dimension], need_b = needs[columns_.axis.dimension];
    Fit best{none, below};
    const auto first = first_row(sort);
    const auto from = need_b / columns_.step;
    if (from >= columns_.steps) return best;
    for (auto step = static_cast<std::uint32_t>(need_a / rows_.step); step < rows_.steps; ++step) {
      const auto row = first + step;
      const auto of_row = rows_.leftover(step, need_a);
      if (of_row >= best.leftover) break;
      // The first group of columns that may do is no better than its first column.
      const auto groups = words_in_use_[row] >> (from / 64);
      if (groups == 0) continue;
      const auto group = from / 64 + static_cast<std::uint32_t>(std::countr_zero(groups));
      if (of_row + columns_.leftover(std::max(from, group * 64), need_b) >= best.leftover) continue;
      for (auto column = next_column(row, from); column < columns_.steps;
           column = next_column(row, column + 1)) {
        const auto leftover = of_row + columns_.leftover(column, need_b);
        if (leftover >= best.leftover) break;
        const auto worker = first_in(row * columns_.steps + column, needs, allowed);
        if (worker == none) continue;
        best = {worker, leftover};
        break;
      }
    }
    return best;
  }

  // Calls `look` with each worker of the sort, those with most free in the first dimension first, until it returns false.
  template <class Look>
  void from_emptiest(std::uint32_t sort, Look look) const {
    const auto first = first_row(sort);
    for (auto row = first + rows_.steps; row-- > first;)
      for (auto column = words_in_use_[row] == 0 ? columns_.steps : next_column(row, 0);
           column < columns_.steps; column = next_column(row, column + 1))
        for (auto worker = head_[row * columns_.steps + column]; worker != none;
             worker = workers_[worker].next)
          if (!look(worker)) return;
  }

 private:
  static constexpr std::uint32_t rows_max = 4096, columns_max = 64 * 64;
  // Finer cells hold fewer workers that have to be looked at, and take memory: so many a worker, and so many in any case.
  static constexpr std::size_t cells_per_worker = 200, cells_min = 1 << 20;

  struct Steps {
    Steps(Axis a, std::size_t steps_max)
        : axis(a),
          step((a.max / static_cast<Amount>(steps_max) / a.unit + 1) * a.unit),
          steps(a.max / step + 1) {}
    std::uint32_t of(Amount free) const { return std::min(free, axis.max) / step; }
    double leftover(std::uint32_t at, Amount need) const {
      const auto free = at * step;
      return free <= need ? 0 : axis.weight * static_cast<double>(free - need);
    }
    Axis axis;
    Amount step;
    std::uint32_t steps;
  };
  // All that a look at a worker needs in two dimensions lies in one cache line: most of the time is spent waiting for that.
  struct alignas(32) Worker {
    std::array<std::int64_t, 2> free{};  // of the dimensions of rows and columns
    std::uint32_t sort = 0, cell = none;
    WorkerIndex previous = none, next = none;  // in the cell
  };

  static Amount amount(std::int64_t free) { return static_cast<Amount>(std::max<std::int64_t>(0, free)); }
  const std::int64_t* further_free(WorkerIndex worker) const {
    return &further_free_[worker * further_.size()];
  }
  std::uint32_t first_row(std::uint32_t sort) const { return sort * rows_.steps; }
  // columns_.steps if there is none.
  std::uint32_t next_column(std::uint32_t row, std::uint32_t from) const {
    if (from >= columns_.steps) return columns_.steps;
    const auto* words = &bits_[std::size_t{row} * words_a_row_];
    auto word = from / 64;
    if (const auto rest = words[word] >> (from % 64))
      return from + static_cast<std::uint32_t>(std::countr_zero(rest));
    const auto later = word == 63 ? 0 : words_in_use_[row] >> (word + 1) << (word + 1);
    if (later == 0) return columns_.steps;
    word = static_cast<std::uint32_t>(std::countr_zero(later));
    return word * 64 + static_cast<std::uint32_t>(std::countr_zero(words[word]));
  }
  template <class Allowed>
  WorkerIndex first_in(std::uint32_t cell, const Amounts& needs, Allowed& allowed) const {
    for (auto worker = head_[cell]; worker != none; worker = workers_[worker].next)
      if (fits(worker, needs) && allowed(worker)) return worker;
    return none;
  }
  std::uint32_t cell_for(WorkerIndex worker) const {
    const auto& [free, sort, cell, previous, next] = workers_[worker];
    return (first_row(sort) + rows_.of(amount(free[0]))) * columns_.steps + columns_.of(amount(free[1]));
  }
  void change(WorkerIndex worker, const Amounts& needs, bool gives_back);
  void link(WorkerIndex worker, std::uint32_t cell);
  void unlink(WorkerIndex worker);

  Steps rows_, columns_;
  std::vector<std::size_t> further_,
      further_at_;  // dimensions that are neither; by dimension: where it stands there
  std::uint32_t words_a_row_;
  std::vector<std::uint64_t> bits_;          // of cells that hold anybody, row by row
  std::vector<std::uint64_t> words_in_use_;  // by row: a bit for each of its words that is not 0
  std::vector<WorkerIndex> head_;            // by cell
  std::vector<Worker> workers_;
  std::vector<std::int64_t> further_free_;  // by worker and further dimension
};

}  // namespace ebb::placement
