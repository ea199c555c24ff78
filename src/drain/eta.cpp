#include "drain/drain_planner.h"

namespace ebb::drain {
namespace {

constexpr std::size_t samples_max = 50;  // of the newest moves

std::uint32_t median(std::vector<std::uint32_t> values) {
  auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

std::optional<WallMs> entered(const Migration& m, Phase phase) {
  for (const auto& time : m.history) {
    if (time.phase == phase) return time.entered_at;
  }
  return std::nullopt;
}

std::uint32_t length_of(const PhaseTimes& times, Phase phase) {
  switch (phase) {
    case Phase::preparing:
      return times.preparing;
    case Phase::freezing:
      return times.freezing;
    case Phase::moving_lease:
      return times.moving_lease;
    case Phase::starting:
      return times.starting;
    case Phase::releasing:
      return times.releasing;
    case Phase::reserving:
    case Phase::done:
    case Phase::aborting:
    case Phase::aborted:
      return 0;
  }
  return 0;
}

constexpr std::array working_phases{Phase::preparing, Phase::freezing, Phase::moving_lease, Phase::starting,
                                    Phase::releasing};

}  // namespace

const PhaseTimes& Eta::of(Mechanism m) const {
  static const PhaseTimes defaults;
  auto found = by_mechanism.find(m);
  return found == by_mechanism.end() ? defaults : found->second;
}

Eta measure(const Fleet& fleet) {
  std::vector<const Migration*> done;
  for (const auto& [id, m] : fleet.migrations()) {
    if (m.phase == Phase::done && m.attempts == 0 && !m.source_dead) done.push_back(&m);
  }
  std::sort(done.begin(), done.end(),
            [](auto* a, auto* b) { return minted_before(b->id.value, a->id.value); });
  if (done.size() > samples_max) done.resize(samples_max);

  std::map<Mechanism, std::map<Phase, std::vector<std::uint32_t>>> lengths;
  for (const auto* m : done) {
    for (std::size_t i = 0; i + 1 < m->history.size(); ++i) {
      auto ms = std::max<WallMs>(0, m->history[i + 1].entered_at - m->history[i].entered_at);
      lengths[m->mechanism][m->history[i].phase].push_back(static_cast<std::uint32_t>(ms));
    }
  }
  Eta eta;
  for (auto& [mechanism, by_phase] : lengths) {
    auto& times = eta.by_mechanism[mechanism];
    auto take = [&](Phase phase, std::uint32_t& into) {
      if (auto found = by_phase.find(phase); found != by_phase.end()) into = median(found->second);
    };
    take(Phase::preparing, times.preparing), take(Phase::freezing, times.freezing);
    // Without a disk a guest can be healthy before the lease was seen to move: the phase is then missing, and
    // took no time.
    times.moving_lease = 0;
    take(Phase::moving_lease, times.moving_lease);
    take(Phase::starting, times.starting), take(Phase::releasing, times.releasing);
    times.samples = static_cast<std::uint32_t>(by_phase[Phase::preparing].size());
  }
  return eta;
}

std::optional<std::uint32_t> interruption_ms(const Migration& m) {
  auto from = entered(m, Phase::freezing), to = entered(m, Phase::releasing);
  if (!from || !to || *to < *from) return std::nullopt;
  return static_cast<std::uint32_t>(*to - *from);
}

double progress(const Migration& m, const Eta& eta, WallMs now) {
  if (m.phase == Phase::done) return 1;
  const auto& times = eta.of(m.mechanism);
  double before = 0, total = 0;
  for (auto phase : working_phases) {
    auto length = static_cast<double>(length_of(times, phase));
    total += length;
    if (phase < m.phase) before += length;
    if (phase == m.phase && !m.history.empty()) {
      before += std::min(length, static_cast<double>(std::max<WallMs>(0, now - m.history.back().entered_at)));
    }
  }
  if (m.phase == Phase::aborting || m.phase == Phase::aborted || total == 0) return 0;
  return std::min(0.99, before / total);
}

}  // namespace ebb::drain
