#include "platform/s3/curl_transport.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <curl/curl.h>
#include <list>

namespace asio = boost::asio;

namespace ebb {
namespace {

constexpr long receive_buffer_bytes = 128 * 1024;
// Below the time after which stores close connections of their own accord: a request on a dying one is lost.
constexpr long kept_idle_seconds = 15;
constexpr std::size_t reserve_max = 16 * MiB;  // on a length that is only announced

// Once a process, before any other thread could call libcurl.
void initialize_curl() {
  static const bool done = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
  CHECK(done);
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return out;
}

Code code_of(CURLcode code) {
  switch (static_cast<int>(code)) {
    case CURLE_URL_MALFORMAT:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
      return Code::invalid;
    default:
      return Code::unavailable;
  }
}

// At most so many at a time, first come first served. A Turn that is dropped goes to the next.
class Turns {
  struct State {
    std::size_t free;
    std::deque<std::function<void()>> waiting;  // each hands a turn to one waiter
  };

 public:
  class Turn {
   public:
    explicit Turn(std::shared_ptr<State> state) : state_(std::move(state)) {}
    Turn(Turn&&) noexcept = default;
    Turn& operator=(Turn&&) = delete;
    ~Turn() {
      if (!state_) return;
      if (state_->waiting.empty()) {
        ++state_->free;
        return;
      }
      auto next = std::move(state_->waiting.front());
      state_->waiting.pop_front();
      next();
    }

   private:
    std::shared_ptr<State> state_;
  };

  Turns(Loop& loop, std::size_t count) : loop_(loop), state_(std::make_shared<State>(State{count, {}})) {}
  Task<Turn> take() {
    if (state_->free > 0) {
      --state_->free;
      co_return Turn(state_);
    }
    OneShot<std::shared_ptr<Turn>> shot(loop_);
    // A waiter that has gone drops its turn, which hands it on.
    state_->waiting.push_back(
        [state = state_, done = shot.completer()] { done(std::make_shared<Turn>(state)); });
    auto turn = co_await shot;
    co_return std::move(*turn);
  }

 private:
  Loop& loop_;
  std::shared_ptr<State> state_;
};

}  // namespace

// libcurl's multi handle, its sockets and its timer. Callbacks of libcurl only note what is wanted; nothing
// of ours runs inside of them.
class CurlTransport::Core final : public std::enable_shared_from_this<Core> {
 public:
  Core(AsioLoop& l, CurlLimits limit) : loop(l), limits(limit), turns(l, limit.in_flight_max) {
    initialize_curl();
    multi_ = curl_multi_init();
    CHECK(multi_ != nullptr);
    curl_multi_setopt(multi_, CURLMOPT_SOCKETFUNCTION, &Core::on_socket);
    curl_multi_setopt(multi_, CURLMOPT_SOCKETDATA, this);
    curl_multi_setopt(multi_, CURLMOPT_TIMERFUNCTION, &Core::on_timer);
    curl_multi_setopt(multi_, CURLMOPT_TIMERDATA, this);
    curl_multi_setopt(multi_, CURLMOPT_MAXCONNECTS, static_cast<long>(limits.in_flight_max));
    curl_multi_setopt(multi_, CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
  }
  ~Core() { close(); }

  void close();
  bool is_closed() const { return multi_ == nullptr; }

  // Handles are kept: each has buffers that are costly to make.
  CURL* take_handle() {
    if (spare_.empty()) return curl_easy_init();
    auto* easy = spare_.back();
    spare_.pop_back();
    curl_easy_reset(easy);
    return easy;
  }
  void add(Transfer& transfer, CURL* easy) {
    transfers_.push_back(&transfer);
    CHECK(curl_multi_add_handle(multi_, easy) == CURLM_OK);
  }
  void remove(Transfer& transfer, CURL* easy) {
    std::erase(transfers_, &transfer);
    curl_multi_remove_handle(multi_, easy);
    spare_.push_back(easy);
  }

  AsioLoop& loop;
  const CurlLimits limits;
  Turns turns;
  std::uint64_t connections = 0;

 private:
  struct Socket {
    explicit Socket(asio::io_context& context, curl_socket_t fd) : descriptor(context, fd) {}
    asio::posix::stream_descriptor descriptor;
    int wanted = 0;
    bool waits_in = false, waits_out = false;
  };

  static int on_socket(CURL*, curl_socket_t fd, int what, void* self, void*) {
    static_cast<Core*>(self)->watch(fd, what);
    return 0;
  }
  static int on_timer(CURLM*, long timeout_ms, void* self) {
    static_cast<Core*>(self)->set_timer(timeout_ms);
    return 0;
  }

  void watch(curl_socket_t fd, int what) {
    auto found = sockets_.find(fd);
    if (what == CURL_POLL_REMOVE) {
      if (found == sockets_.end()) return;
      found->second->descriptor.release();  // it is libcurl's
      sockets_.erase(found);
      return;
    }
    if (found == sockets_.end())
      found = sockets_.emplace(fd, std::make_shared<Socket>(loop.context(), fd)).first;
    found->second->wanted = what;
    arm(fd, found->second);
  }

  void arm(curl_socket_t fd, const std::shared_ptr<Socket>& socket) {
    if ((socket->wanted & CURL_POLL_IN) != 0 && !std::exchange(socket->waits_in, true))
      wait(fd, socket, CURL_POLL_IN);
    if ((socket->wanted & CURL_POLL_OUT) != 0 && !std::exchange(socket->waits_out, true))
      wait(fd, socket, CURL_POLL_OUT);
  }

  void wait(curl_socket_t fd, const std::shared_ptr<Socket>& socket, int direction) {
    auto kind = direction == CURL_POLL_IN ? asio::posix::stream_descriptor::wait_read
                                          : asio::posix::stream_descriptor::wait_write;
    socket->descriptor.async_wait(
        kind, [weak = weak_from_this(), socket, fd, direction](boost::system::error_code error) {
          (direction == CURL_POLL_IN ? socket->waits_in : socket->waits_out) = false;
          auto core = weak.lock();
          if (error || !core || core->is_closed() || !socket->descriptor.is_open()) return;
          if ((socket->wanted & direction) == 0) return;
          core->act(fd, direction == CURL_POLL_IN ? CURL_CSELECT_IN : CURL_CSELECT_OUT);
          if (socket->descriptor.is_open()) core->arm(fd, socket);
        });
  }

  void set_timer(long timeout_ms) {
    if (timer_ != 0) loop.cancel(std::exchange(timer_, 0));
    if (timeout_ms < 0) return;
    timer_ = loop.call_at(loop.now() + std::chrono::milliseconds(timeout_ms), [weak = weak_from_this()] {
      auto core = weak.lock();
      if (!core || core->is_closed()) return;
      core->timer_ = 0;
      core->act(CURL_SOCKET_TIMEOUT, 0);
    });
  }

  void act(curl_socket_t fd, int events) {
    int running = 0;
    curl_multi_socket_action(multi_, fd, events, &running);
    finish_done();
  }

  void finish_done();

  CURLM* multi_ = nullptr;
  std::uint64_t timer_ = 0;
  std::map<curl_socket_t, std::shared_ptr<Socket>> sockets_;
  std::vector<CURL*> spare_;
  std::vector<Transfer*> transfers_;
};

// One request under way; lives in the frame of its task.
class CurlTransport::Transfer {
 public:
  Transfer(std::shared_ptr<Core> core, CurlRequest request, std::function<void(Result<CurlReply>)> done)
      : core_(std::move(core)), request_(std::move(request)), done_(std::move(done)) {}
  Transfer(const Transfer&) = delete;
  ~Transfer() { detach(); }

  void start() {
    easy_ = core_->take_handle();
    CHECK(easy_ != nullptr);
    set_options();
    core_->add(*this, easy_);
  }

  void finish(CURLcode code) {
    auto outcome = result_of(code);
    detach();
    done_(std::move(outcome));
  }
  // The transport goes away.
  void abandon() {
    detach();
    done_(fail(Code::unavailable, "{} {}: the store is being closed", request_.method, request_.url));
  }

 private:
  template <class T>
  void set(CURLoption option, T value) {
    CHECK(curl_easy_setopt(easy_, option, value) == CURLE_OK);
  }

  void set_options() {
    const auto& limits = core_->limits;
    set(CURLOPT_PRIVATE, static_cast<void*>(this));
    set(CURLOPT_URL, request_.url.c_str());
    set(CURLOPT_PATH_AS_IS, 1L);  // it is signed as it is
    set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
    set(CURLOPT_PROTOCOLS_STR, "http,https");
    set(CURLOPT_NOPROXY, "*");  // a store is spoken to directly, whatever the environment says
    // No alarm is needed, as names are looked up on threads; what is left of it is that libcurl keeps SIGPIPE
    // away.
    set(CURLOPT_NOSIGNAL, 0L);
    set(CURLOPT_TCP_NODELAY, 1L);
    set(CURLOPT_TCP_KEEPALIVE, 1L);
    set(CURLOPT_MAXAGE_CONN, kept_idle_seconds);
    set(CURLOPT_BUFFERSIZE, receive_buffer_bytes);
    set(CURLOPT_UPLOAD_BUFFERSIZE, receive_buffer_bytes);
    set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(to_ms(limits.connect)));
    set(CURLOPT_TIMEOUT_MS, static_cast<long>(to_ms(limits.total)));
    set(CURLOPT_LOW_SPEED_LIMIT, 1L);
    set(CURLOPT_LOW_SPEED_TIME, static_cast<long>(to_seconds(limits.stall)));
    set(CURLOPT_ERRORBUFFER, static_cast<char*>(error_));
    if (!request_.ca_file.empty()) set(CURLOPT_CAINFO, request_.ca_file.c_str());

    set(CURLOPT_CUSTOMREQUEST, request_.method.c_str());
    if (request_.method != "GET") {
      // As "post fields" the body is sent from where it is, with the header in one packet if it is small.
      bool has_body = request_.body && !request_.body->empty();
      set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(has_body ? request_.body->size() : 0));
      set(CURLOPT_POSTFIELDS, has_body ? reinterpret_cast<const char*>(request_.body->data()) : "");
    }
    for (const char* without : {"Expect:", "Content-Type:", "Accept:"}) add_header(without);
    for (const auto& header : request_.headers) add_header(header.c_str());
    set(CURLOPT_HTTPHEADER, headers_.get());
    set(CURLOPT_USERAGENT, "ebb");

    set(CURLOPT_WRITEFUNCTION, &Transfer::on_body);
    set(CURLOPT_WRITEDATA, static_cast<void*>(this));
    set(CURLOPT_HEADERFUNCTION, &Transfer::on_header);
    set(CURLOPT_HEADERDATA, static_cast<void*>(this));
    set(CURLOPT_PREREQFUNCTION, &Transfer::on_issue);
    set(CURLOPT_PREREQDATA, static_cast<void*>(this));
  }

  void add_header(const char* line) {
    auto* longer = curl_slist_append(headers_.get(), line);
    CHECK(longer != nullptr);
    (void)headers_.release();
    headers_.reset(longer);
  }

  // libcurl sends a request again by itself when a kept connection breaks before an answer. What a server has
  // done by then is not known, so whether to repeat is not libcurl's to decide.
  static int on_issue(void* self, char*, char*, int, int) {
    return static_cast<Transfer*>(self)->issued_++ == 0 ? CURL_PREREQFUNC_OK : CURL_PREREQFUNC_ABORT;
  }

  static std::size_t on_header(char* data, std::size_t, std::size_t length, void* self) {
    auto& reply = static_cast<Transfer*>(self)->reply_;
    std::string_view line(data, length);
    while (line.ends_with('\n') || line.ends_with('\r')) line.remove_suffix(1);
    if (line.starts_with("HTTP/")) reply.headers.clear();  // after a "100 Continue" comes another
    auto colon = line.find(':');
    if (colon == std::string_view::npos) return length;
    auto value = line.substr(colon + 1);
    while (value.starts_with(' ') || value.starts_with('\t')) value.remove_prefix(1);
    while (value.ends_with(' ') || value.ends_with('\t')) value.remove_suffix(1);
    reply.headers.insert_or_assign(lower(line.substr(0, colon)), std::string(value));
    return length;
  }

  static std::size_t on_body(char* data, std::size_t, std::size_t length, void* self) {
    auto& me = *static_cast<Transfer*>(self);
    auto& body = me.reply_.body;
    if (body.size() + length > me.core_->limits.reply_bytes_max) return me.is_too_long_ = true, 0;
    if (body.empty()) {
      curl_off_t announced = -1;
      curl_easy_getinfo(me.easy_, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &announced);
      if (announced > 0)
        body.reserve(std::min<std::size_t>(static_cast<std::size_t>(announced), reserve_max));
    }
    append(body, std::as_bytes(std::span(data, length)));
    return length;
  }

  Result<CurlReply> result_of(CURLcode code) {
    auto what = [&] { return fmt::format("{} {}", request_.method, request_.url); };
    if (is_too_long_)
      return fail(Code::invalid, "{}: the reply is longer than {} bytes", what(),
                  core_->limits.reply_bytes_max);
    if (code != CURLE_OK && issued_ > 1)
      return fail(Code::unavailable, "{}: the connection was lost before an answer", what());
    if (code != CURLE_OK)
      return fail(code_of(code), "{}: {}", what(), error_[0] != '\0' ? error_ : curl_easy_strerror(code));
    long status = 0, connects = 0;
    curl_easy_getinfo(easy_, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(easy_, CURLINFO_NUM_CONNECTS, &connects);
    core_->connections += static_cast<std::uint64_t>(connects);
    reply_.status = static_cast<int>(status);
    // Without either, a broken connection would look like the end.
    bool has_end = reply_.headers.contains("content-length") ||
                   reply_.headers.contains("transfer-encoding") || status == 204 || status == 304;
    if (!has_end) return fail(Code::unavailable, "{}: the reply does not say where it ends", what());
    return std::move(reply_);
  }

  void detach() {
    if (easy_ != nullptr) core_->remove(*this, std::exchange(easy_, nullptr));
  }

  struct FreeList {
    void operator()(curl_slist* list) const { curl_slist_free_all(list); }
  };
  std::shared_ptr<Core> core_;
  CurlRequest request_;
  std::function<void(Result<CurlReply>)> done_;
  CurlReply reply_;
  CURL* easy_ = nullptr;
  std::unique_ptr<curl_slist, FreeList> headers_;
  int issued_ = 0;
  bool is_too_long_ = false;
  char error_[CURL_ERROR_SIZE] = {};
};

void CurlTransport::Core::finish_done() {
  int left = 0;
  while (auto* message = curl_multi_info_read(multi_, &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    auto code = message->data.result;  // the message is gone once the handle is removed
    Transfer* transfer = nullptr;
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
    transfer->finish(code);
  }
}

void CurlTransport::Core::close() {
  if (is_closed()) return;
  while (!transfers_.empty()) transfers_.back()->abandon();
  for (auto* easy : spare_) curl_easy_cleanup(easy);
  spare_.clear();
  curl_multi_cleanup(multi_);  // closes the kept connections
  multi_ = nullptr;
  if (timer_ != 0) loop.cancel(std::exchange(timer_, 0));
  for (auto& [fd, socket] : sockets_) socket->descriptor.release();
  sockets_.clear();
}

CurlTransport::CurlTransport(AsioLoop& loop, CurlLimits limits)
    : core_(std::make_shared<Core>(loop, limits)) {}

CurlTransport::~CurlTransport() { close(); }

void CurlTransport::close() { core_->close(); }

std::uint64_t CurlTransport::connections_made() const { return core_->connections; }

Task<Result<CurlReply>> CurlTransport::send(CurlRequest request) { return run(core_, std::move(request)); }

Task<Result<CurlReply>> CurlTransport::run(std::shared_ptr<Core> core, CurlRequest request) {
  auto turn = co_await core->turns.take();
  if (core->is_closed())
    co_return fail(Code::unavailable, "{} {}: the store is closed", request.method, request.url);
  OneShot<Result<CurlReply>> shot(core->loop);
  Transfer transfer(core, std::move(request), shot.completer());
  transfer.start();
  co_return co_await shot;
}

}  // namespace ebb
