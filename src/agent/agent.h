// The agent of one worker: makes it match the wanted set, and reports what it sees. It never decides where a
// VM runs. VMs run on when it dies, and when the control plane is away; all it needs to go on is in its state
// folder.
#pragma once
#include <map>
#include <memory>
#include <string>

#include "base/log.h"
#include "env/files.h"
#include "env/http.h"
#include "env/hypervisor.h"
#include "env/loop.h"
#include "env/object_store.h"
#include "env/stream.h"
#include "model/agent_types.h"

namespace ebb::agent {

struct AgentConfig {
  WorkerId worker;
  std::string boot_id;  // of the host
  std::string version = "0.1.0";
  std::string control;  // "host:port" of the control plane
  std::string join_token;
  Labels labels;
  Resources capacity;                           // for VMs: the host's, less its reserve
  std::map<PoolId, ObjectStore*> pools;         // they outlive the agent
  std::map<NetworkId, std::string> networks{};  // the bridge of each
  std::string state_dir;
  std::string disk_daemon;         // "unix:/path"
  std::string status_address;      // where operators ask: "unix:/path"; empty: nowhere
  Duration wanted_wait = 20s;      // of a long poll
  Duration report_every = 2s;      // without a change
  Duration report_coalesce = 2ms;  // changes so close together go out as one
  Duration disks_every = 500ms;    // the disk daemon is asked for its status
};

// All of it outlives the agent.
struct AgentEnv {
  Loop& loop;
  Files& files;
  Http& http;
  Network& network;
  Hypervisor& hypervisor;
  Logger log;
};

class Agent final {
 public:
  Agent(AgentConfig config, AgentEnv env);
  Agent(const Agent&) = delete;
  // Ends all work where it stands; machines run on.
  ~Agent();

  // Works until it is destroyed. Ends early only if it cannot begin: the state folder is held by another
  // agent (busy), or was written by a newer version (invalid).
  Task<Status> run();

  // For operators, as /status shows it.
  json::Value status() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ebb::agent
