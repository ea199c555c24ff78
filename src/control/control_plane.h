// The control plane of a cell: records, loops and API composed over the outside world that main gives it.
#pragma once
#include "control/api/images_service.h"
#include "control/api/services.h"
#include "control/loops/reclaimer.h"
#include "env/http.h"

namespace ebb::control {

struct ControlConfig {
  std::string operator_token, join_token;
  std::string openapi;  // the document served at /v1/openapi.json
  Reconciler::Limits limits;
  Duration reclaim_every = 30s;
};

class ControlPlane {
 public:
  // `store` and the pools' stores outlive it.
  ControlPlane(Loop& loop, RecordStore& store, std::map<PoolId, Pool> pools, ControlConfig config,
               Logger log);

  // Loads the records, then runs the loops in the background. On an error nothing runs.
  Task<Status> start();
  // Any request of the API. Before start() has succeeded only /healthz answers.
  Task<HttpResponse> handle(HttpRequest request);

  const Owner& owner() const { return owner_; }
  const Router& router() const { return router_; }
  // Why the process should end (records taken over by another one, unreadable store), if it should.
  const std::optional<Error>& broken() const { return owner_.broken(); }

 private:
  void add_common_routes();

  Loop& loop_;
  ControlConfig config_;
  Logger log_;
  Pools pools_;
  Owner owner_;
  WantedSets wanted_;
  Sessions sessions_;
  EffectRunner effects_;
  Reconciler reconciler_;
  Reclaimer reclaimer_;
  Router router_;
  WorkersService workers_;
  VmsService vms_;
  DisksService disks_;
  NetworksService networks_;
  DrainsService drains_;
  BudgetsService budgets_;
  GroupsService groups_;
  AgentService agents_;
  EventsService events_;
  SessionsService session_routes_;
  ImagesService images_;
  bool started_ = false;
  Scope scope_;  // last: its tasks end before what they use
};

}  // namespace ebb::control
