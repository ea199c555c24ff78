// A made-up world for the CLI: virtual time, files in memory, a scripted control plane, and a screen that
// remembers.
#pragma once
#include "cli/cli.h"
#include "env/scope.h"

namespace ebb::fake {

class VirtualLoop final : public Loop {
 public:
  Instant now() const override { return now_; }
  WallMs wall_now() const override { return epoch_ms + to_ms(now_.time_since_epoch()); }
  void post(Callback callback) override { call_at(now_, std::move(callback)); }
  std::uint64_t call_at(Instant when, Callback callback) override {
    timers_.emplace(std::pair(std::max(when, now_), ++last_id_), std::move(callback));
    return last_id_;
  }
  void cancel(std::uint64_t timer) override {
    std::erase_if(timers_, [&](const auto& item) { return item.first.second == timer; });
  }
  Random& random() override { return random_; }
  // Until `done`, or until nothing is left to happen.
  void run_until(const std::function<bool()>& done) {
    while (!done() && !timers_.empty()) {
      auto first = timers_.begin();
      now_ = first->first.first;
      auto callback = std::move(first->second);
      timers_.erase(first);
      callback();
    }
  }
  static constexpr WallMs epoch_ms = 1'700'000'000'000;

 private:
  Instant now_{};
  std::uint64_t last_id_ = 0;
  std::map<std::pair<Instant, std::uint64_t>, Callback> timers_;
  Random random_{1};
};

// Answers by `handler`; while `reachable` is false every request fails as a refused connection does. Each
// takes 1 ms.
class ScriptedHttp final : public Http {
 public:
  explicit ScriptedHttp(Loop& loop) : loop_(loop) {}

  std::function<HttpResponse(const HttpRequest&)> handler;
  bool reachable = true;
  Duration streams_last{};  // after their last piece
  std::vector<HttpRequest> seen;

  Result<std::unique_ptr<HttpServer>> serve(std::string, HttpHandler, std::size_t) override {
    return fail(Code::internal, "not here");
  }
  Task<Result<HttpResponse>> request(std::string address, HttpRequest request, Duration) override {
    last_address = address;
    seen.push_back(request);
    co_await sleep_for(loop_, 1ms);
    if (!reachable) co_return fail(Code::unavailable, "connection refused");
    co_return handler(request);
  }
  Task<Status> request_stream(std::string, HttpRequest request, PieceHandler on_piece) override {
    seen.push_back(request);
    co_await sleep_for(loop_, 1ms);
    if (!reachable) co_return fail(Code::unavailable, "connection refused");
    auto reply = handler(request);
    if (reply.status != 200) co_return fail(Code::invalid, "{}: {}", reply.status, reply.body);
    // In pieces that end in the middle of lines.
    for (std::size_t at = 0; at < reply.body.size(); at += 7)
      on_piece(std::string_view(reply.body).substr(at, 7));
    co_await sleep_for(loop_, streams_last);
    co_return Status{};
  }
  std::string last_address;

 private:
  Loop& loop_;
};

class MemoryFile final : public File {
 public:
  // It outlives the file.
  explicit MemoryFile(std::string& bytes) : bytes_(bytes) {}
  Task<Result<Bytes>> read(std::uint64_t offset, std::size_t length) override {
    co_return to_bytes(std::string_view(bytes_).substr(std::min<std::size_t>(offset, bytes_.size()), length));
  }
  Task<Status> write(std::uint64_t offset, Bytes data) override {
    bytes_.resize(std::max<std::size_t>(bytes_.size(), offset + data.size()));
    bytes_.replace(offset, data.size(), as_text(data));
    co_return Status{};
  }
  Task<Status> sync() override { co_return Status{}; }
  Task<Result<std::uint64_t>> size() override { co_return bytes_.size(); }
  Task<Status> resize(std::uint64_t bytes) override {
    bytes_.resize(bytes);
    co_return Status{};
  }

 private:
  std::string& bytes_;
};

class MemoryFiles final : public Files {
 public:
  std::map<std::string, std::string> content;

  Task<Result<std::unique_ptr<File>>> open(std::string path, OpenMode mode) override {
    if (mode != OpenMode::create && !content.contains(path))
      co_return fail(Code::not_found, "{} does not exist", path);
    std::unique_ptr<File> file = std::make_unique<MemoryFile>(content[path]);
    co_return file;
  }
  Task<Result<std::unique_ptr<DirectFile>>> open_direct(std::string, OpenMode) override {
    co_return fail(Code::internal, "not here");
  }
  Task<Status> rename(std::string from, std::string to) override {
    if (content.contains(to)) co_return fail(Code::conflict, "{} is there", to);
    content[to] = std::move(content[from]);
    content.erase(from);
    co_return Status{};
  }
  Task<Result<Bytes>> read_all(std::string path) override {
    if (!content.contains(path)) co_return fail(Code::not_found, "{} does not exist", path);
    co_return to_bytes(content[path]);
  }
  Task<Status> write_atomic(std::string, Bytes) override { co_return not_here(); }
  Task<Status> remove(std::string path) override {
    if (content.erase(path) == 0) co_return fail(Code::not_found, "{} does not exist", path);
    co_return Status{};
  }
  Task<Status> remove_tree(std::string) override { co_return not_here(); }
  Task<Result<std::vector<std::string>>> list(std::string) override {
    co_return fail(Code::internal, "not here");
  }
  Task<Status> make_dirs(std::string) override { co_return not_here(); }
  Task<Result<std::unique_ptr<FileLock>>> lock(std::string) override {
    co_return fail(Code::internal, "not here");
  }

 private:
  static Status not_here() { return fail(Code::internal, "not here"); }
};

class MemoryScreen final : public Screen {
 public:
  std::string data, talk;
  bool data_is_terminal = false, talk_is_terminal = false;
  ScreenSize screen_size;

  void write(Output to, std::string_view text) override { (to == Output::data ? data : talk) += text; }
  bool is_terminal(Output output) const override {
    return output == Output::data ? data_is_terminal : talk_is_terminal;
  }
  ScreenSize size() const override { return screen_size; }
};

// The whole made-up world around one `ebb` after another.
struct World {
  VirtualLoop loop;
  ScriptedHttp http{loop};
  MemoryFiles files;
  MemoryScreen screen;
  std::map<std::string, std::string> variables;
  decltype(CliEnv::open_pool) open_pool;
  Keyboard* keyboard = nullptr;

  // Runs `ebb ARGS` and returns its exit code; what it printed is in `screen`. Ctrl-C comes after
  // `interrupt_after`.
  int ebb(std::vector<std::string> args, std::optional<Duration> interrupt_after = std::nullopt) {
    screen.data.clear();
    screen.talk.clear();
    Cli cli({loop, http, files, screen, variables, open_pool, nullptr, keyboard});
    std::optional<int> code;
    Scope scope(loop);
    scope.spawn([](Cli* c, std::vector<std::string> a, std::optional<int>* out) -> Task<void> {
      *out = co_await c->run(std::move(a));
    }(&cli, std::move(args), &code));
    if (interrupt_after) loop.call_at(loop.now() + *interrupt_after, [&cli] { cli.interrupt(); });
    loop.run_until([&] { return code.has_value(); });
    return code.value_or(-1);
  }
  // Runs one task of the client.
  template <class T>
  T await(Task<T> task) {
    std::optional<T> result;
    Scope scope(loop);
    scope.spawn([](Task<T> body, std::optional<T>* out) -> Task<void> { out->emplace(co_await body); }(
                                                            std::move(task), &result));
    loop.run_until([&] { return result.has_value(); });
    return std::move(*result);
  }
};

template <class T>
HttpResponse reply(const T& value, int status = 200) {
  return {status, {{"content-type", "application/json"}}, json::write_text(value), {}};
}
inline HttpResponse refuse(int status, std::string code, std::string message) {
  return reply(ErrorBody{std::move(code), std::move(message), {}}, status);
}

}  // namespace ebb::fake
