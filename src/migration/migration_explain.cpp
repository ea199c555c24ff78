#include "migration/migration_step.h"

namespace ebb::migration {
namespace {

// Names a worker that does not answer, if it is one that is waited for.
std::optional<std::string> silence(const WorkerId& worker, const Seen& seen) {
  const auto* at = seen.find(worker);
  if (at && at->liveness == Liveness::ready) return std::nullopt;
  return fmt::format("{} does not answer", worker);
}

Reason waiting(const Migration& m, const WorkerId& on, std::string text, const Seen& seen) {
  auto since = m.history.empty() ? std::optional<WallMs>{} : m.history.back().entered_at;
  if (auto silent = silence(on, seen)) {
    return {fmt::format("{}: {}, and {}", m.vm, text, *silent), since,
            fmt::format("operator: bring {} back, or declare it dead", on)};
  }
  if (auto trouble = seen.find(on)->trouble(); !trouble.empty()) {
    return {fmt::format("{}: {}, and {} cannot take what is wanted of it: {}", m.vm, text, on, trouble),
            since, "operator: mend what it names; the agent tries again"};
  }
  return {fmt::format("{}: {}", m.vm, text), since, "nobody: it goes on by itself"};
}

// What an end reports, for the text.
std::string said(const SeenVm* seen) {
  if (!seen) return "not reported yet";
  return seen->error.empty() ? std::string(json::name_of(seen->state))
                             : fmt::format("{}: {}", json::name_of(seen->state), seen->error);
}

}  // namespace

std::vector<Reason> explain(const Migration& m, const Seen& seen) {
  const auto* source = seen.find(m.source, m.vm);
  const auto* target = seen.find(m.target, m.vm);
  const bool has_disk = m.mechanism == Mechanism::pointer;
  const auto attempts =
      m.attempts ? fmt::format(", {} of {} attempts failed", m.attempts, boot_attempts_max) : "";
  switch (m.phase) {
    case Phase::reserving:
      return {{fmt::format("{}: waits for its turn to move to {}", m.vm, m.target),
               m.history.empty() ? std::optional<WallMs>{} : m.history.back().entered_at,
               "nobody: the limits of moves at a time"}};
    case Phase::preparing:
      return {waiting(m, m.target,
                      fmt::format("{} prepares to take it ({}{})", m.target, said(target), attempts), seen)};
    case Phase::freezing:
      return {waiting(m, m.source,
                      fmt::format("{} stops the guest{} ({})", m.source,
                                  has_disk ? " and flushes its disk" : "", said(source)),
                      seen)};
    case Phase::moving_lease:
      return {waiting(m, m.target,
                      fmt::format("{} {} ({})", m.target,
                                  has_disk ? "takes over the disk" : "is told to start it", said(target)),
                      seen)};
    case Phase::starting:
      return {waiting(m, m.target,
                      fmt::format("the guest starts on {} ({}{})", m.target, said(target), attempts), seen)};
    case Phase::releasing:
      return {waiting(
          m, m.source,
          fmt::format("runs on {}; {} removes what is left ({})", m.target, m.source, said(source)), seen)};
    case Phase::aborting:
      if (source && source->state == VmSeen::running && target && target->state != VmSeen::absent)
        return {waiting(m, m.target,
                        fmt::format("runs on {} again; {} removes what was prepared ({})", m.source, m.target,
                                    said(target)),
                        seen)};
      return {waiting(m, m.source,
                      fmt::format("goes back to {} because {} ({})", m.source, m.last_error, said(source)),
                      seen)};
    case Phase::done:
    case Phase::aborted:
      return {};
  }
  return {};
}

}  // namespace ebb::migration
