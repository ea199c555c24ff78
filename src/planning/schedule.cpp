#include "planning/schedule.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <queue>

#include "placement/grouped.h"

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
  std::uint32_t size() const { return static_cast<std::uint32_t>(slots_.size()); }

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

// A move matters more the more work waits for the resource of it that is worst off, and of those who share that one, the more waits for the
// next worst, and the longer it is itself.
std::vector<double> urgencies(const ScheduleInput& input, const Resources& resources) {
  const auto& jobs = input.jobs;
  std::vector<double> load(resources.size());
  for (std::size_t j = 0; j < jobs.size(); ++j)
    for (const auto r : resources.of(j))
      if (r != none)
        load[r] += (jobs[j].seconds + std::max(0.0, resources.after(r))) / std::max(1u, resources.slots(r));
  std::vector<double> urgency(jobs.size());
  for (std::size_t j = 0; j < jobs.size(); ++j) {
    double worst = 0, second = jobs[j].seconds;
    for (const auto r : resources.of(j)) {
      if (r == none) continue;
      second = std::max(second, std::min(worst, load[r]));
      worst = std::max(worst, load[r]);
    }
    urgency[j] = worst + second + jobs[j].seconds;
  }
  // What others wait for matters as much as the longest chain behind it.
  std::vector<double> behind(jobs.size());
  for (auto p = input.precedences.rbegin(); p != input.precedences.rend(); ++p) {
    behind[p->after] = std::max(behind[p->after], behind[p->move] + jobs[p->move].seconds);
    urgency[p->after] = std::max(urgency[p->after], urgency[p->move] + jobs[p->after].seconds);
  }
  for (std::size_t j = 0; j < jobs.size(); ++j) urgency[j] += behind[j];
  return urgency;
}

// Job numbers, the most urgent first.
std::vector<std::uint32_t> ranked(const ScheduleInput& input, const Resources& resources, Order order) {
  struct Keyed {
    double key;
    std::uint32_t job;
  };
  std::vector<Keyed> keyed;
  keyed.reserve(input.jobs.size());
  if (order == Order::critical_first)
    for (const auto urgency : urgencies(input, resources)) keyed.push_back({urgency, 0});
  else
    for (const auto& job : input.jobs) keyed.push_back({order == Order::longest_first ? job.seconds : 0, 0});
  for (std::uint32_t j = 0; j < keyed.size(); ++j) keyed[j].job = j;
  std::ranges::sort(
      keyed, [](const Keyed& a, const Keyed& b) { return a.key != b.key ? a.key > b.key : a.job < b.job; });
  std::vector<std::uint32_t> jobs;
  jobs.reserve(keyed.size());
  for (const auto& one : keyed) jobs.push_back(one.job);
  return jobs;
}

// Jobs are known by their rank here, and lie in that order: the most urgent are looked at most often.
class Scheduler {
 public:
  Scheduler(const ScheduleInput& input, Order order) : limits_(input.limits) {
    const Resources resources(input);
    job_of_ = ranked(input, resources, order);
    std::vector<std::uint32_t> rank_of(job_of_.size());
    jobs_.reserve(job_of_.size());
    for (std::uint32_t rank = 0; rank < job_of_.size(); ++rank) {
      rank_of[job_of_[rank]] = rank;
      jobs_.push_back({resources.of(job_of_[rank]), input.jobs[job_of_[rank]].seconds});
    }
    resources_.resize(resources.size());
    for (std::uint32_t r = 0; r < resources.size(); ++r)
      resources_[r].free = resources.slots(r), resources_[r].after = resources.after(r);
    bucket_ = std::max(1.0, input.limits.boots_at_once);
    tokens_ = bucket_;
    std::vector<std::uint32_t> after;  // by precedence
    for (const auto& p : input.precedences) {
      ++jobs_[rank_of[p.move]].blocked_by;
      after.push_back(rank_of[p.after]);
    }
    followers_ = placement::Grouped(jobs_.size(), after);
    for (const auto& p : input.precedences) follower_.push_back(rank_of[p.move]);
  }

  Schedule run() {
    result_.start.assign(jobs_.size(), -1);
    result_.wave.assign(jobs_.size(), 0);
    for (std::uint32_t job = 0; job < jobs_.size(); ++job)
      if (jobs_[job].blocked_by == 0) attempt(job);
    while (!events_.empty()) {
      const auto event = events_.top();
      events_.pop();
      now_ = event.at, wave_ = event.wave + 1;
      if (event.kind == Event::boots)
        boot_next();
      else if (event.kind == Event::ended)
        end(event.of);
      else
        release(resources_[event.of]);
    }
    return std::move(result_);
  }

 private:
  template <class T>
  using LeastFirst = std::priority_queue<T, std::vector<T>, std::greater<>>;
  struct Job {
    Resources::OfJob takes;
    double seconds;
    std::uint32_t blocked_by = 0;  // so many others
  };
  struct Resource {
    std::uint32_t free = 0;
    double after = 0;  // see Resources
    LeastFirst<std::uint32_t> waiting{};
    bool is_budget() const { return after >= 0; }
  };
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
  struct ForBoot {
    std::uint32_t job, wave;  // in which it would have started, but for a token
    auto operator<=>(const ForBoot&) const = default;
  };

  bool has_token() const { return limits_.boots_per_second <= 0 || tokens_now() > 1 - 1e-6; }
  double tokens_now() const {
    return std::min(bucket_, tokens_ + (now_ - tokens_at_) * limits_.boots_per_second);
  }
  void wait_for_token() {
    events_.push({now_ + (1 - tokens_now()) / limits_.boots_per_second, Event::boots, 0, wave_ - 1});
  }
  void boot_next() {
    while (!for_boot_.empty() && has_token()) {
      const auto [job, wave] = for_boot_.top();
      for_boot_.pop();
      wave_ = wave;
      start(job);
    }
    if (!for_boot_.empty()) wait_for_token();
  }
  // Starts it, or has it wait for the first thing that it lacks. What it then needs is its own, also while it waits for a token: who is less
  // urgent would get one later.
  void attempt(std::uint32_t job) {
    for (const auto r : jobs_[job].takes)
      if (r != none && resources_[r].free == 0) return resources_[r].waiting.push(job);
    for (const auto r : jobs_[job].takes)
      if (r != none) --resources_[r].free;
    if (has_token()) return start(job);
    if (for_boot_.empty()) wait_for_token();
    for_boot_.push({job, wave_});
  }
  void start(std::uint32_t job) {
    if (limits_.boots_per_second > 0) tokens_ = tokens_now() - 1, tokens_at_ = now_;
    const auto end = now_ + jobs_[job].seconds;
    result_.start[job_of_[job]] = now_, result_.wave[job_of_[job]] = wave_;
    for (const auto r : jobs_[job].takes)
      if (r != none && resources_[r].is_budget())
        events_.push({end + resources_[r].after, Event::healthy, r, wave_});
    events_.push({end, Event::ended, job, wave_});
  }
  void end(std::uint32_t job) {
    result_.makespan = now_;
    for (const auto precedence : followers_[job])
      if (const auto follower = follower_[precedence]; --jobs_[follower].blocked_by == 0) attempt(follower);
    for (const auto r : jobs_[job].takes)
      if (r != none && !resources_[r].is_budget()) release(resources_[r]);
  }
  void release(Resource& resource) {
    ++resource.free;
    while (resource.free > 0 && !resource.waiting.empty()) {
      const auto job = resource.waiting.top();
      resource.waiting.pop();
      attempt(job);
    }
  }

  const MoveLimits& limits_;
  std::vector<Job> jobs_;
  std::vector<std::uint32_t> job_of_;  // of the input
  std::vector<Resource> resources_;
  placement::Grouped followers_;         // precedences, by the job that is waited for
  std::vector<std::uint32_t> follower_;  // by precedence
  LeastFirst<ForBoot> for_boot_;
  double bucket_ = 1, tokens_ = 0, tokens_at_ = 0;
  LeastFirst<Event> events_;
  double now_ = 0;
  std::uint32_t wave_ = 1;  // of what starts now
  Schedule result_;
};

bool can_start(const ScheduleInput& input, const Job& job) {
  const auto& limits = input.limits;
  return limits.per_source > 0 && limits.per_target > 0 && (!job.is_clone || limits.clones_per_domain > 0) &&
         (job.budget == none || input.budgets[job.budget].away_max > 0) &&
         (job.tenant == none || input.tenant_max[job.tenant] > 0);
}

}  // namespace

Schedule schedule(const ScheduleInput& input, Order order) { return Scheduler(input, order).run(); }

std::vector<Bound> makespan_bounds(const ScheduleInput& input) {
  std::vector<double> source(input.workers), source_bytes(input.workers), out(input.domains),
      budget(input.budgets.size()), tenant(input.tenant_max.size());
  double longest = 0, all = 0, clones = 0, count = 0;
  for (const auto& job : input.jobs) {
    if (!can_start(input, job)) continue;
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
