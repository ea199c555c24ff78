#include "planning/schedule.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <queue>

namespace ebb::planning {
namespace {

using placement::none;

// Everything of which a move takes one: its source, its target, a way out of a domain and one into another, its budget, its tenant. Only what
// some job takes has a number.
class Resources {
 public:
  static constexpr std::size_t per_job_max = 6;
  using OfJob = std::array<std::uint32_t, per_job_max>;  // in the end: none

  explicit Resources(const ScheduleInput& input) : input_(input) {
    const auto budgets = static_cast<std::uint32_t>(input.budgets.size()),
               tenants = static_cast<std::uint32_t>(input.tenant_max.size());
    const std::array<std::uint32_t, per_job_max> counts{input.workers, input.workers, input.domains,
                                                        input.domains, budgets,       tenants};
    std::vector<std::uint32_t> numbers(2 * input.workers + 2 * input.domains + budgets + tenants, none);
    of_job_.reserve(input.jobs.size());
    for (const auto& job : input.jobs) {
      const std::array<std::uint32_t, per_job_max> takes{
          job.from,   job.to,    job.is_clone ? job.from_domain : none, job.is_clone ? job.to_domain : none,
          job.budget, job.tenant};
      auto& all = of_job_.emplace_back();
      all.fill(none);
      auto first = 0u;
      for (std::size_t kind = 0, count = 0; kind < per_job_max; first += counts[kind++]) {
        if (takes[kind] == none) continue;
        auto& number = numbers[first + takes[kind]];
        if (number == none) number = add(kind, takes[kind]);
        all[count++] = number;
      }
    }
  }
  const OfJob& of(std::size_t job) const { return of_job_[job]; }
  std::uint32_t slots(std::uint32_t resource) const { return slots_[resource]; }
  // For how long it is taken beyond the move; below 0: it is no budget.
  double after(std::uint32_t resource) const { return after_[resource]; }
  bool is_budget(std::uint32_t resource) const { return after_[resource] >= 0; }
  std::uint32_t size() const { return static_cast<std::uint32_t>(slots_.size()); }
  bool can_start(std::size_t job) const {
    return std::ranges::all_of(of_job_[job],
                               [&](auto resource) { return resource == none || slots_[resource] > 0; });
  }

 private:
  std::uint32_t add(std::size_t kind, std::uint32_t which) {
    const auto& limits = input_.limits;
    const auto slots = [&] {
      switch (kind) {
        case 0:
          return limits.per_source;
        case 1:
          return limits.per_target;
        case 4:
          return input_.budgets[which].away_max;
        case 5:
          return input_.tenant_max[which];
        default:
          return limits.clones_per_domain;
      }
    };
    slots_.push_back(slots());
    after_.push_back(kind == 4 ? input_.budgets[which].healthy_seconds : -1);
    return size() - 1;
  }
  const ScheduleInput& input_;
  std::vector<std::uint32_t> slots_;
  std::vector<double> after_;
  std::vector<OfJob> of_job_;
};

class Scheduler {
 public:
  Scheduler(const ScheduleInput& input, Order order)
      : input_(input), resources_(input), free_(resources_.size()), waiting_(resources_.size()) {
    for (std::uint32_t r = 0; r < resources_.size(); ++r) free_[r] = resources_.slots(r);
    rank(order);
    bucket_ = std::max(1.0, input.limits.boots_at_once);
    tokens_ = bucket_;
    blocked_by_.assign(input.jobs.size(), 0);
    follows_.assign(input.jobs.size() + 1, 0);
    for (const auto& p : input.precedences) ++blocked_by_[p.move], ++follows_[p.after + 1];
    for (std::size_t j = 0; j < input.jobs.size(); ++j) follows_[j + 1] += follows_[j];
    followers_.resize(input.precedences.size());
    auto next = follows_;
    for (const auto& p : input.precedences) followers_[next[p.after]++] = p.move;
  }

  Schedule run() {
    result_.start.assign(input_.jobs.size(), -1);
    result_.wave.assign(input_.jobs.size(), 0);
    for (const auto job : by_rank_)
      if (blocked_by_[job] == 0) attempt(job);
    while (!events_.empty()) {
      const auto event = events_.top();
      events_.pop();
      now_ = event.at, wave_ = event.wave + 1;
      if (event.kind == Event::boots) {
        while (!for_boot_.empty() && has_token()) {
          const auto waiter = for_boot_.top();
          for_boot_.pop();
          wave_ = waiter.wave;
          start(waiter.job);
        }
        if (!for_boot_.empty()) wait_for_token();
      } else if (event.kind == Event::ended) {
        result_.makespan = now_;
        for (auto i = follows_[event.of]; i < follows_[event.of + 1]; ++i)
          if (--blocked_by_[followers_[i]] == 0) attempt(followers_[i]);
        for (const auto resource : resources_.of(event.of))
          if (resource != none && !resources_.is_budget(resource)) release(resource);
      } else {
        release(event.of);
      }
    }
    return std::move(result_);
  }

 private:
  struct Event {
    // In the order in which they count at one instant: who waited for another to be healthy is in line for what that one's end sets free.
    enum Kind : std::uint8_t { healthy, ended, boots };
    double at;
    Kind kind;
    std::uint32_t of;    // job, resource
    std::uint32_t wave;  // of the job that it is about
    bool operator>(const Event& other) const {
      return std::tuple(at, kind, of) > std::tuple(other.at, other.kind, other.of);
    }
  };
  struct Waiter {
    std::uint32_t rank, job;
    std::uint32_t wave = 0;  // in which it would have started, but for a token
    bool operator>(const Waiter& other) const { return rank > other.rank; }
  };
  using Queue = std::priority_queue<Waiter, std::vector<Waiter>, std::greater<>>;

  // A move matters more the more work waits for the resource of it that is worst off, and of those who share that one, the more waits for the
  // next worst, and the longer it is itself.
  void rank(Order order) {
    std::vector<double> load(resources_.size());
    for (std::size_t j = 0; j < input_.jobs.size(); ++j)
      for (const auto r : resources_.of(j))
        if (r != none)
          load[r] += (input_.jobs[j].seconds + std::max(0.0, resources_.after(r))) /
                     std::max(1u, resources_.slots(r));
    std::vector<double> urgency(input_.jobs.size());
    for (std::size_t j = 0; j < input_.jobs.size(); ++j) {
      double worst = 0, second = input_.jobs[j].seconds;
      for (const auto r : resources_.of(j)) {
        if (r == none) continue;
        second = std::max(second, std::min(worst, load[r]));
        worst = std::max(worst, load[r]);
      }
      urgency[j] = worst + second + input_.jobs[j].seconds;
    }
    // What others wait for matters as much as the longest chain behind it.
    std::vector<double> behind(input_.jobs.size());
    for (auto p = input_.precedences.rbegin(); p != input_.precedences.rend(); ++p) {
      behind[p->after] = std::max(behind[p->after], behind[p->move] + input_.jobs[p->move].seconds);
      urgency[p->after] = std::max(urgency[p->after], urgency[p->move] + input_.jobs[p->after].seconds);
    }
    for (std::size_t j = 0; j < input_.jobs.size(); ++j) urgency[j] += behind[j];
    by_rank_.resize(input_.jobs.size());
    for (std::uint32_t j = 0; j < by_rank_.size(); ++j) by_rank_[j] = j;
    if (order != Order::first_in_first_out)
      std::ranges::sort(by_rank_, [&](auto a, auto b) {
        const auto key = [&](auto j) {
          return order == Order::critical_first ? urgency[j] : input_.jobs[j].seconds;
        };
        return key(a) != key(b) ? key(a) > key(b) : a < b;
      });
    rank_.resize(by_rank_.size());
    for (std::uint32_t i = 0; i < by_rank_.size(); ++i) rank_[by_rank_[i]] = i;
  }

  bool has_token() const { return input_.limits.boots_per_second <= 0 || tokens_now() > 1 - 1e-6; }
  double tokens_now() const {
    return std::min(bucket_, tokens_ + (now_ - tokens_at_) * input_.limits.boots_per_second);
  }
  void wait_for_token() {
    events_.push({now_ + (1 - tokens_now()) / input_.limits.boots_per_second, Event::boots, 0, wave_ - 1});
  }
  // Starts it, or has it wait for the first thing that it lacks. What it then needs is its own, also while it waits for a token: who is less
  // urgent would get one later.
  void attempt(std::uint32_t job) {
    for (const auto r : resources_.of(job))
      if (r != none && free_[r] == 0) {
        waiting_[r].push({rank_[job], job});
        return;
      }
    for (const auto r : resources_.of(job))
      if (r != none) --free_[r];
    if (has_token()) return start(job);
    if (for_boot_.empty()) wait_for_token();
    for_boot_.push({rank_[job], job, wave_});
  }
  void start(std::uint32_t job) {
    if (input_.limits.boots_per_second > 0) tokens_ = tokens_now() - 1, tokens_at_ = now_;
    const auto end = now_ + input_.jobs[job].seconds;
    result_.start[job] = now_, result_.wave[job] = wave_;
    for (const auto r : resources_.of(job))
      if (r != none && resources_.is_budget(r))
        events_.push({end + resources_.after(r), Event::healthy, r, wave_});
    events_.push({end, Event::ended, job, wave_});
  }
  void release(std::uint32_t resource) {
    ++free_[resource];
    auto& queue = waiting_[resource];
    while (free_[resource] > 0 && !queue.empty()) {
      const auto job = queue.top().job;
      queue.pop();
      attempt(job);
    }
  }

  const ScheduleInput& input_;
  Resources resources_;
  std::vector<std::uint32_t> free_;  // by resource
  std::vector<Queue> waiting_;       // by resource
  std::vector<std::uint32_t> by_rank_, rank_;
  std::vector<std::uint32_t> blocked_by_, follows_, followers_;  // precedences
  Queue for_boot_;
  double bucket_ = 1, tokens_ = 0, tokens_at_ = 0;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
  double now_ = 0;
  std::uint32_t wave_ = 1;  // of what starts now
  Schedule result_;
};

}  // namespace

Schedule schedule(const ScheduleInput& input, Order order) { return Scheduler(input, order).run(); }

std::vector<Bound> makespan_bounds(const ScheduleInput& input) {
  const Resources resources(input);
  std::vector<double> source(input.workers), source_bytes(input.workers), out(input.domains),
      budget(input.budgets.size()), tenant(input.tenant_max.size());
  double longest = 0, all = 0, clones = 0, count = 0;
  for (std::size_t j = 0; j < input.jobs.size(); ++j) {
    if (!resources.can_start(j)) continue;
    const auto& job = input.jobs[j];
    longest = std::max(longest, job.seconds), all += job.seconds, ++count;
    source[job.from] += job.seconds, source_bytes[job.from] += job.bytes;
    if (job.is_clone) out[job.from_domain] += job.seconds, clones += job.seconds;
    if (job.budget != none) budget[job.budget] += job.seconds + input.budgets[job.budget].healthy_seconds;
    if (job.tenant != none) tenant[job.tenant] += job.seconds / std::max(1u, input.tenant_max[job.tenant]);
  }
  for (std::size_t b = 0; b < budget.size(); ++b)
    if (budget[b] > 0)
      budget[b] = budget[b] / std::max(1u, input.budgets[b].away_max) - input.budgets[b].healthy_seconds;
  const auto most = [](const std::vector<double>& of) {
    return of.empty() ? 0 : *std::ranges::max_element(of);
  };
  const auto& limits = input.limits;
  std::vector<Bound> bounds = {
      {"the longest move", longest},
      {"moves at a time from one worker", most(source) / std::max(1u, limits.per_source)},
      {"the link of one worker",
       limits.link_bytes_per_second > 0 ? most(source_bytes) / limits.link_bytes_per_second : 0},
      {"clones at a time out of one domain", most(out) / std::max(1u, limits.clones_per_domain)},
      {"a budget", most(budget)},
      {"moves at a time of one tenant", most(tenant)},
      {"moves at a time to all targets", all / std::max(1u, limits.per_target) / std::max(1u, input.targets)},
      {"clones at a time into all domains",
       clones / std::max(1u, limits.clones_per_domain) / std::max(1u, input.target_domains)},
      {"boots a second",
       limits.boots_per_second > 0
           ? std::max(0.0, count - std::max(1.0, limits.boots_at_once)) / limits.boots_per_second
           : 0}};
  std::ranges::sort(bounds, [](const Bound& a, const Bound& b) {
    return a.seconds != b.seconds ? a.seconds > b.seconds : a.name < b.name;
  });
  return bounds;
}

}  // namespace ebb::planning
