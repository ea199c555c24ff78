// Byte streams between simulated processes: pipes with latency that break when a side dies or the hosts are
// cut off from each other. Addresses as in SimHttp.
#pragma once
#include "env/stream.h"
#include "sim/sim_world.h"

namespace ebb::sim {

struct SimNetworkOptions {
  Duration latency = 500us, local_latency = 20us;
};

struct SimSocket;

class SimSockets final {
 public:
  explicit SimSockets(SimNetworkOptions options = {}) : options_(options) {}
  SimSockets(const SimSockets&) = delete;
  // What an address means to a process on `host`: its own sockets and loopback are not its neighbour's.
  static std::string resolve(const std::string& host, const std::string& address);
  // The host that a resolved address is on.
  static std::string host_of(std::string_view resolved);

 private:
  friend class SimNetwork;
  SimNetworkOptions options_;
  std::uint32_t last_port_ = 40'000;
  std::map<std::string, std::weak_ptr<SimSocket>> listening_;
};

class SimNetwork final : public Network {
 public:
  SimNetwork(SimProcess& process, SimSockets& sockets) : process_(process), sockets_(sockets) {}
  Result<std::unique_ptr<Listener>> listen(std::string address, StreamHandler handler) override;
  Task<Result<std::unique_ptr<Stream>>> connect(std::string address) override;

 private:
  SimProcess& process_;
  SimSockets& sockets_;
};

}  // namespace ebb::sim
