#include "control/control_plane.h"

#include "control/api/metrics.h"
#include "model/export_types.h"

namespace ebb::control {
namespace {

CellView cell_view(const Owner& owner, const drain::PaceLimits& pace, WallMs now) {
  CellView view{owner.revision(), now};
  for (const auto& [mechanism, times] : drain::measure(owner.fleet()).by_mechanism)
    view.phases.push_back({mechanism, times.preparing, times.freezing, times.moving_lease, times.starting,
                           times.releasing, times.samples});
  view.limits = {pace.tenant_moves_min, pace.tenant_moves_percent, pace.label_moves_max, pace.vm_moves_max,
                 pace.brake.dead_min,   pace.brake.dead_percent,   pace.horizon_ms};
  return view;
}

}  // namespace

ControlPlane::ControlPlane(Loop& loop, RecordStore& store, std::map<PoolId, Pool> pools, ControlConfig config,
                           Logger log)
    : loop_(loop),
      config_(std::move(config)),
      log_(log),
      pools_(loop, std::move(pools)),
      owner_(loop, store, log.named("records")),
      wanted_(loop, owner_),
      sessions_(loop),
      effects_(loop, owner_, pools_, log.named("effects")),
      reconciler_(loop, owner_, pools_, config_.limits, log.named("loops")),
      reclaimer_(loop, owner_, pools_, config_.reclaim_every, log.named("reclaim")),
      router_(config_.operator_token, config_.join_token),
      workers_(Context{loop, owner_, reconciler_, effects_, pools_}, vms_),
      vms_(Context{loop, owner_, reconciler_, effects_, pools_}),
      disks_(Context{loop, owner_, reconciler_, effects_, pools_}),
      networks_(Context{loop, owner_, reconciler_, effects_, pools_}),
      drains_(Context{loop, owner_, reconciler_, effects_, pools_}),
      budgets_(Context{loop, owner_, reconciler_, effects_, pools_}),
      groups_(Context{loop, owner_, reconciler_, effects_, pools_}),
      agents_(Context{loop, owner_, reconciler_, effects_, pools_}, wanted_),
      events_(Context{loop, owner_, reconciler_, effects_, pools_}),
      session_routes_(Context{loop, owner_, reconciler_, effects_, pools_}, sessions_),
      images_(Context{loop, owner_, reconciler_, effects_, pools_}),
      scope_(loop) {
  workers_.add_routes(router_);
  vms_.add_routes(router_);
  disks_.add_routes(router_);
  networks_.add_routes(router_);
  drains_.add_routes(router_);
  budgets_.add_routes(router_);
  groups_.add_routes(router_);
  agents_.add_routes(router_);
  events_.add_routes(router_);
  session_routes_.add_routes(router_);
  images_.add_routes(router_);
  add_common_routes();
}

void ControlPlane::add_common_routes() {
  auto text = [](int status, std::string body, std::string type) -> HttpResponse {
    HttpResponse reply;
    reply.status = status, reply.body = std::move(body);
    reply.headers["content-type"] = std::move(type);
    return reply;
  };
  router_.add("GET", "/healthz", Access::open,
              [text](Call) -> Task<HttpResponse> { co_return text(200, "ok\n", "text/plain"); });
  router_.add("GET", "/readyz", Access::open, [this, text](Call) -> Task<HttpResponse> {
    if (owner_.broken()) co_return text(503, owner_.broken()->message + "\n", "text/plain");
    co_return started_ ? text(200, "ready\n", "text/plain")
                       : text(503, "the records are being loaded\n", "text/plain");
  });
  router_.add("GET", "/metrics", Access::open, [this, text](Call) -> Task<HttpResponse> {
    co_return text(200, metrics_text(Context{loop_, owner_, reconciler_, effects_, pools_}, reclaimer_),
                   "text/plain; version=0.0.4");
  });
  router_.add("GET", "/v1/cell", Access::operator_token, [this](Call) -> Task<HttpResponse> {
    co_return reply_with(cell_view(owner_, config_.limits.pace, loop_.wall_now()));
  });
  router_.add("GET", "/v1/openapi.json", Access::operator_token, [this, text](Call) -> Task<HttpResponse> {
    co_return text(200, config_.openapi, "application/json");
  });
}

Task<Status> ControlPlane::start() {
  EBB_CO_CHECKED(co_await pools_.prepare());
  EBB_CO_CHECKED(co_await owner_.load());
  for (const auto& [id, worker] : owner_.fleet().workers()) (void)wanted_.revision_of(id);
  started_ = true;
  scope_.spawn(effects_.run());
  scope_.spawn(images_.remove_abandoned());
  scope_.spawn(reconciler_.run());
  scope_.spawn(reclaimer_.run());
  log_.info("{} workers, {} VMs, revision {}", owner_.fleet().workers().size(), owner_.fleet().vms().size(),
            owner_.revision());
  co_return Status{};
}

Task<HttpResponse> ControlPlane::handle(HttpRequest request) {
  if (!started_ && request.target != "/healthz" && request.target != "/readyz") {
    co_return error_reply({Code::unavailable, "the records are being loaded: try again in a moment", {}});
  }
  co_return co_await router_.handle(std::move(request));
}

}  // namespace ebb::control
