#include "control/api/services.h"

namespace ebb::control {
namespace {

constexpr std::uint64_t wait_max_s = 60;

Status check_registration(const Registration& r) {
  if (!is_valid_name(r.worker.value))
    return fail_field("worker", "'{}' is no name for a worker: 1 to 63 of a-z, 0-9 and '-'", r.worker);
  if (r.boot_id.empty()) return fail_field("boot_id", "'boot_id' is missing");
  if (r.capacity.cpu_millis == 0 || r.capacity.memory_bytes == 0)
    return fail_field("capacity", "'capacity' must name cores and memory for VMs");
  EBB_CHECKED(check_length("boot_id", r.boot_id, word_bytes_max));
  EBB_CHECKED(check_length("version", r.version, word_bytes_max));
  constexpr std::size_t firmware_max = 8;
  if (r.firmware && r.firmware->size() > firmware_max)
    return fail_field("firmware", "at most {} kinds of firmware", firmware_max);
  if (r.pools.size() > pools_max) return fail_field("pools", "at most {} pools", pools_max);
  for (const auto& pool : r.pools) {
    if (!is_valid_name(pool.value)) return fail_field("pools", "'{}' is no name for a pool", pool);
  }
  const auto features = r.cpu_features.value_or(std::vector<std::string>());
  if (features.size() > cpu_features_max)
    return fail_field("cpu_features", "at most {} CPU features", cpu_features_max);
  for (const auto& feature : features) EBB_CHECKED(check_length("cpu_features", feature, word_bytes_max));
  constexpr std::size_t networks_max = 64;
  if (r.networks && r.networks->size() > networks_max)
    return fail_field("networks", "at most {} networks", networks_max);
  for (const auto& network : r.networks.value_or(std::vector<NetworkId>()))
    if (!is_valid_name(network.value))
      return fail_field("networks", "'{}' is no name for a network", network);
  return check_labels("labels", r.labels);
}

// They become parts of records.
void shorten_errors(AgentReport& report) {
  for (auto& vm : report.vms) {
    vm.error = shortened(std::move(vm.error));
    if (vm.end) vm.end->text = shortened(std::move(vm.end->text));
    if (vm.health) vm.health->error = shortened(std::move(vm.health->error));
  }
}

}  // namespace

void AgentService::add_routes(Router& r) {
  const auto join = Access::join_token;
  r.add("POST", "/v1/agent/register", join, [this](Call c) { return register_worker(std::move(c)); });
  r.add("GET", "/v1/agent/workers/{id}/wanted", join, [this](Call c) { return wanted(std::move(c)); });
  r.add("POST", "/v1/agent/report", join, [this](Call c) { return report(std::move(c)); });
}

Task<HttpResponse> AgentService::register_worker(Call call) {
  auto wish = body_of<Registration>(call);
  if (!wish) co_return error_reply(wish.error());
  if (auto status = check_registration(*wish); !status) co_return error_reply(status.error());
  auto changed = co_await c_.owner.change<bool>([&](Batch& batch) -> Result<bool> {
    const auto* old = c_.fleet().find(wish->worker);
    Worker next = old ? *old : Worker{};
    next.id = wish->worker, next.boot_id = wish->boot_id, next.agent_version = wish->version;
    next.labels = wish->labels, next.capacity = wish->capacity, next.pools = wish->pools;
    next.firmware = wish->firmware, next.networks = wish->networks;
    next.cpu_features = wish->cpu_features;
    if (!old) next.registered_at = batch.now();
    // What had been shown was of the host as it was.
    if (old && old->boot_id != next.boot_id && next.is_returning())
      next.returning->error = "the host was rebooted or reinstalled meanwhile";
    if (old && *old == next) return true;
    batch.put(next);
    batch.journal("worker.registered", "workers/" + next.id.value, old ? "registered again" : "registered");
    const auto holds = c_.fleet().holds_on(next.id);
    const bool is_held = std::ranges::any_of(holds, [](const Hold* h) { return h->owner == "rejoin"; });
    if (old && old->boot_id != next.boot_id && !is_held) {
      // The host has been rebooted or reinstalled: it takes nothing until somebody has looked at it.
      batch.put(Hold{HoldId(batch.mint_id("hold")), next.id, "rejoin", "the host was rebooted or reinstalled",
                     batch.now(), std::nullopt});
    }
    return true;
  });
  if (!changed) co_return error_reply(changed.error());
  co_return reply_with(wanted_.of(wish->worker));
}

Task<HttpResponse> AgentService::wanted(Call call) {
  const WorkerId id(call.param("id"));
  auto known = call.number("revision", 0), wait = call.number("wait_s", 0);
  if (!known) co_return error_reply(known.error());
  if (!wait) co_return error_reply(wait.error());
  if (!c_.fleet().find(id)) co_return error_reply(no_such("worker", id.value));
  if (call.query.contains("revision")) {
    co_await wanted_.wait_for_change(id, *known, std::chrono::seconds(std::min(*wait, wait_max_s)));
    if (wanted_.revision_of(id) == *known) {
      HttpResponse unchanged;
      unchanged.status = 304;
      co_return unchanged;
    }
  }
  co_return reply_with(wanted_.of(id));
}

Task<HttpResponse> AgentService::report(Call call) {
  auto said = body_of<AgentReport>(call);
  if (!said) co_return error_reply(said.error());
  if (!c_.fleet().find(said->worker)) co_return error_reply(no_such("worker", said->worker.value));
  shorten_errors(*said);
  const auto answer = wanted_.revision_of(said->worker);
  const auto& at = c_.owner.seen().workers[said->worker];
  // A repeated or overtaken report of the same run says nothing new. Another run replaces it: its count
  // starts anew.
  const bool stale =
      at.heard && at.report.agent_run == said->agent_run && said->sequence <= at.report.sequence;
  if (!stale) {
    c_.owner.seen().take(std::move(*said), c_.loop.now(), c_.loop.wall_now());
    c_.reconciler.poke();
  }
  co_return reply_with(ReportAnswer{answer});
}

}  // namespace ebb::control
