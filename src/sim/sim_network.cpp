#include "sim/sim_network.h"

#include "env/scope.h"

namespace ebb::sim {

struct SimSocket {
  SimSocket(SimProcess& owner, std::string bound, StreamHandler handles)
      : process(owner), address(std::move(bound)), handler(std::move(handles)), scope(owner.loop()) {}
  SimProcess& process;
  std::string address;
  StreamHandler handler;
  Scope scope;
};

namespace {

bool is_unix(std::string_view address) { return address.starts_with("unix:"); }

// One direction of a connection: what has arrived and was not read yet.
struct Pipe {
  Pipe(SimProcess& from, SimProcess& to) : writer(from), reader(to), arrived(to.loop()) {}
  SimProcess& writer;
  SimProcess& reader;
  std::deque<std::byte> bytes;
  bool is_ended = false;   // no more will arrive
  bool is_closed = false;  // nobody reads
  Instant last_arrival{};
  Notify arrived;
};

class SimStream final : public Stream {
 public:
  SimStream(std::shared_ptr<Pipe> in, std::shared_ptr<Pipe> out, Duration latency)
      : in_(std::move(in)), out_(std::move(out)), latency_(latency) {}
  ~SimStream() override { close(); }

  Task<Result<std::size_t>> read_some(MutableBytes into) override {
    auto in = in_;
    while (in->bytes.empty() && !in->is_ended && !in->is_closed) co_await in->arrived.wait();
    if (in->is_closed) co_return fail(Code::unavailable, "the stream is closed");
    auto count = std::min(into.size(), in->bytes.size());
    std::copy_n(in->bytes.begin(), count, into.begin());
    in->bytes.erase(in->bytes.begin(), in->bytes.begin() + static_cast<std::ptrdiff_t>(count));
    co_return count;
  }
  Task<Status> write_all(std::vector<ByteView> parts) override {
    auto out = out_;
    Bytes all;
    for (auto part : parts) append(all, part);
    if (out->is_closed || out->is_ended)
      co_return fail(Code::unavailable, "the other side closed the connection");
    send([all = std::move(all)](Pipe& pipe) { pipe.bytes.insert(pipe.bytes.end(), all.begin(), all.end()); });
    co_await sleep_until(out->writer.loop(), out->last_arrival);
    co_return Status{};
  }
  void close() override {
    if (std::exchange(is_closed_, true)) return;
    in_->is_closed = true;
    in_->arrived.notify_all();
    send([](Pipe& pipe) { pipe.is_ended = true; });
  }

 private:
  // In order, after the latency; into nowhere while the hosts are cut off.
  void send(std::function<void(Pipe&)> deliver) {
    auto& world = out_->writer.world();
    out_->last_arrival = std::max(out_->last_arrival, world.loop().now() + world.vary(latency_));
    world.loop().call_at(out_->last_arrival, [out = out_, deliver = std::move(deliver)] {
      if (!out->writer.world().links().connected(out->writer.host(), out->reader.host())) return;
      deliver(*out);
      out->arrived.notify_all();
    });
  }

  std::shared_ptr<Pipe> in_, out_;
  Duration latency_;
  bool is_closed_ = false;
};

class SimListener final : public Listener {
 public:
  explicit SimListener(std::shared_ptr<SimSocket> socket) : socket_(std::move(socket)) {}
  std::string address() const override { return socket_->address; }

 private:
  std::shared_ptr<SimSocket> socket_;
};

}  // namespace

std::string SimSockets::resolve(const std::string& host, const std::string& address) {
  if (is_unix(address)) return "unix:" + host + address.substr(5);
  for (std::string_view own : {"127.0.0.1:", "localhost:", "0.0.0.0:"})
    if (address.starts_with(own)) return host + ":" + address.substr(own.size());
  return address;
}

std::string SimSockets::host_of(std::string_view resolved) {
  bool is_path = is_unix(resolved);
  if (is_path) resolved = resolved.substr(5);
  return std::string(resolved.substr(0, resolved.find(is_path ? '/' : ':')));
}

Result<std::unique_ptr<Listener>> SimNetwork::listen(std::string address, StreamHandler handler) {
  if (!is_unix(address) && address.ends_with(":0"))
    address = fmt::format("{}{}", address.substr(0, address.size() - 1), ++sockets_.last_port_);
  auto& slot = sockets_.listening_[SimSockets::resolve(process_.host(), address)];
  if (!slot.expired()) return fail(Code::busy, "{}: address in use", address);
  auto socket = std::make_shared<SimSocket>(process_, address, std::move(handler));
  slot = socket;
  return std::make_unique<SimListener>(std::move(socket));
}

Task<Result<std::unique_ptr<Stream>>> SimNetwork::connect(std::string address) {
  auto& world = process_.world();
  auto latency = is_unix(address) ? sockets_.options_.local_latency : sockets_.options_.latency;
  auto resolved = SimSockets::resolve(process_.host(), address);
  co_await sleep_for(process_.loop(), world.vary(latency));
  if (!world.links().connected(process_.host(), SimSockets::host_of(resolved))) {
    co_await sleep_for(process_.loop(), 10s);
    co_return fail(Code::unavailable, "{}: no answer", address);
  }
  auto found = sockets_.listening_.find(resolved);
  auto socket = found == sockets_.listening_.end() ? nullptr : found->second.lock();
  if (!socket) co_return fail(Code::unavailable, "{}: connection refused", address);
  auto there = std::make_shared<Pipe>(process_, socket->process),
       back = std::make_shared<Pipe>(socket->process, process_);
  socket->process.loop().post(
      [weak = std::weak_ptr(socket), far = std::make_unique<SimStream>(there, back, latency)]() mutable {
        if (auto server = weak.lock()) server->scope.spawn(server->handler(std::move(far)));
      });
  co_return std::make_unique<SimStream>(back, there, latency);
}

}  // namespace ebb::sim
