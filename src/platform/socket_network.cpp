#include "platform/socket_network.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "platform/os_error.h"
#include "platform/posix_calls.h"

namespace ebb {
namespace {

constexpr std::string_view unix_scheme = "unix:";
constexpr int backlog = 1024;
// After so many reads or writes in a row that did not have to wait, a connection lets the others have the
// loop.
constexpr int turns_max = 32;

// What a peer on this machine has not read yet may take so much of the kernel's memory. With the usual 208 KiB a reply of 1 MiB is sent
// in turns with whoever reads it: large reads over NBD then have 0.85 times the speed of nbdkit's, and with this 1.1 times.
constexpr int unsent_bytes_max = 1 << 20;

// Fine if it cannot be had: more than net.core.wmem_max is root's alone.
void give_room(int fd) {
  if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &unsent_bytes_max, sizeof unsent_bytes_max) != 0)
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &unsent_bytes_max, sizeof unsent_bytes_max);
}

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
};

Result<SocketAddress> unix_address(const std::string& path) {
  SocketAddress address;
  auto* un = reinterpret_cast<sockaddr_un*>(&address.storage);
  if (path.empty() || path.size() >= sizeof un->sun_path) {
    return fail(Code::invalid, "socket path '{}' has {} bytes, it may have 1 to {}: use a shorter folder",
                path, path.size(), sizeof un->sun_path - 1);
  }
  un->sun_family = AF_UNIX;
  std::memcpy(un->sun_path, path.c_str(), path.size() + 1);
  address.length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + 1);
  return address;
}

// May ask the name service, and so block.
Result<SocketAddress> tcp_address(const std::string& text) {
  auto colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0) {
    return fail(Code::invalid, "'{}' is no address: use HOST:PORT or unix:/PATH", text);
  }
  auto host = text.substr(0, colon), port = text.substr(colon + 1);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  if (port.empty() || port.size() > 5 || port.find_first_not_of("0123456789") != std::string::npos ||
      std::stoul(port) > 65535) {
    return fail(Code::invalid, "'{}' has no port from 0 to 65535", text);
  }
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  int error = getaddrinfo(host.c_str(), port.c_str(), &hints, &found);
  if (error != 0) return fail(Code::unavailable, "cannot find {}: {}", host, gai_strerror(error));
  SocketAddress address;
  std::memcpy(&address.storage, found->ai_addr, found->ai_addrlen);
  address.length = found->ai_addrlen;
  freeaddrinfo(found);
  return address;
}

Result<SocketAddress> resolve(const std::string& text) {
  return text.starts_with(unix_scheme) ? unix_address(text.substr(unix_scheme.size())) : tcp_address(text);
}

Result<UniqueFd> make_socket(int family, const std::string& text) {
  UniqueFd fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return fail_os(errno, "make a socket for", text);
  return fd;
}

// Fails on unix sockets, which need none of it. Keep-alive finds out about machines that vanished in about 30
// s.
void tune(int fd) {
  int on = 1, idle = 15, interval = 5, count = 3;
  unsigned int unanswered_ms = 30'000;  // what was sent: without an answer for so long there is nobody
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
  setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unanswered_ms, sizeof unanswered_ms);
}

class SocketStream final : public Stream {
 public:
  SocketStream(AsioLoop& loop, UniqueFd fd) : loop_(loop), watch_(loop, fd.release()) { tune(watch_.fd()); }

  Task<Result<std::size_t>> read_some(MutableBytes into) override {
    co_await take_turn();
    for (;;) {
      if (watch_.fd() < 0) co_return fail(Code::unavailable, "the connection was closed");
      auto count = ::recv(watch_.fd(), into.data(), into.size(), 0);
      if (count >= 0) co_return static_cast<std::size_t>(count);
      if (errno == EINTR) continue;
      if (errno != EAGAIN) co_return fail_os(errno, "read from", "the connection");
      turns_ = 0;
      if (!co_await watch_.readable()) co_return fail(Code::unavailable, "the connection was closed");
    }
  }

  Task<Status> write_all(std::vector<ByteView> parts) override {
    co_await take_turn();
    std::size_t at = 0;
    for (;;) {
      while (at < parts.size() && parts[at].empty()) ++at;
      if (at == parts.size()) co_return Status{};
      if (watch_.fd() < 0) co_return fail(Code::unavailable, "the connection was closed");
      auto count = send_parts(std::span(parts).subspan(at));
      if (count >= 0) {
        advance(parts, at, static_cast<std::size_t>(count));
      } else if (errno == EAGAIN) {
        turns_ = 0;
        if (!co_await watch_.writable()) co_return fail(Code::unavailable, "the connection was closed");
      } else if (errno != EINTR) {
        co_return fail_os(errno, "write to", "the connection");
      }
    }
  }

  void close() override { watch_.close(); }

  // 0, or the errno with which a connect() under way ended.
  Task<int> connected() {
    if (!co_await watch_.writable()) co_return ECANCELED;
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(watch_.fd(), SOL_SOCKET, SO_ERROR, &error, &length);
    co_return error;
  }

 private:
  // A peer that is never slower than we are would otherwise keep the loop for itself.
  Task<void> take_turn() {
    if (++turns_ < turns_max) co_return;
    turns_ = 0;
    OneShot<bool> shot(loop_);
    loop_.post([done = shot.completer()] { done(true); });
    co_await shot;
  }

  ssize_t send_parts(std::span<ByteView> parts) {
    std::array<iovec, 64> vectors;
    auto count = std::min(parts.size(), vectors.size());
    for (std::size_t i = 0; i < count; ++i)
      vectors[i] = {const_cast<std::byte*>(parts[i].data()), parts[i].size()};
    msghdr message{};
    message.msg_iov = vectors.data();
    message.msg_iovlen = count;
    return ::sendmsg(watch_.fd(), &message, MSG_NOSIGNAL);
  }

  static void advance(std::vector<ByteView>& parts, std::size_t& at, std::size_t count) {
    while (count > 0) {
      auto step = std::min(count, parts[at].size());
      parts[at] = parts[at].subspan(step);
      count -= step;
      if (parts[at].empty()) ++at;
    }
  }

  AsioLoop& loop_;
  FdWatch watch_;
  int turns_ = 0;
};

class SocketListener final : public Listener {
 public:
  SocketListener(AsioLoop& loop, UniqueFd fd, std::string address, StreamHandler handler)
      : loop_(loop),
        address_(std::move(address)),
        handler_(std::move(handler)),
        watch_(loop, fd.release()),
        scope_(loop) {
    if (address_.starts_with(unix_scheme)) ::lstat(socket_path().c_str(), &inode_);
    scope_.spawn(accept_all());
  }
  // The name goes with the listener, unless somebody else has taken it over.
  ~SocketListener() override {
    struct stat now{};
    if (address_.starts_with(unix_scheme) && ::lstat(socket_path().c_str(), &now) == 0 &&
        now.st_ino == inode_.st_ino && now.st_dev == inode_.st_dev) {
      ::unlink(socket_path().c_str());
    }
  }
  std::string address() const override { return address_; }

 private:
  std::string socket_path() const { return address_.substr(unix_scheme.size()); }

  Task<void> accept_all() {
    for (;;) {
      UniqueFd fd(::accept4(watch_.fd(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (fd) {
        if (address_.starts_with(unix_scheme)) give_room(fd.get());
        scope_.spawn(handler_(std::make_unique<SocketStream>(loop_, std::move(fd))));
      } else if (errno == EAGAIN) {
        if (!co_await watch_.readable()) co_return;
      } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        co_await sleep_for(loop_, 100ms);  // connections wait in the backlog until others have ended
      }  // all other errors are of the one connection that gave up meanwhile
    }
  }

  AsioLoop& loop_;
  const std::string address_;
  StreamHandler handler_;
  FdWatch watch_;
  struct stat inode_{};
  Scope scope_;
};

// Nobody listens at the other end: the file is left from a process that is gone.
bool is_stale(const SocketAddress& address) {
  UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  return probe && ::connect(probe.get(), address.get(), address.length) != 0 && errno == ECONNREFUSED;
}

Result<UniqueFd> listen_unix(const std::string& path, const SocketOptions& options) {
  EBB_TRY(address, unix_address(path));
  auto folder = posix::parent_of(path);
  // Two processes that start at once must not take each other's fresh socket for a stale one.
  UniqueFd folder_fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder_fd) return fail_os(errno, "open", folder);
  if (flock(folder_fd.get(), LOCK_EX) != 0) return fail_os(errno, "lock", folder);

  EBB_TRY(fd, make_socket(AF_UNIX, path));
  if (::bind(fd.get(), address.get(), address.length) != 0) {
    if (errno != EADDRINUSE) return fail_os(errno, "listen on", path);
    struct stat info{};
    if (::lstat(path.c_str(), &info) == 0 && !S_ISSOCK(info.st_mode)) {
      return fail(Code::invalid, "cannot listen on {}: there is a file of that name, which is no socket",
                  path);
    }
    if (!is_stale(address)) return fail(Code::busy, "address in use: another process listens on {}", path);
    if (::unlink(path.c_str()) != 0 || ::bind(fd.get(), address.get(), address.length) != 0) {
      return fail_os(errno, "replace the stale socket", path);
    }
  }
  // Until listen() nobody gets in, so nobody slips through before the mode is set.
  if (::chmod(path.c_str(), options.unix_mode) != 0) return fail_os(errno, "set the mode of", path);
  if (options.unix_uid || options.unix_gid) {
    constexpr auto keep = static_cast<uid_t>(-1);
    if (::chown(path.c_str(), options.unix_uid.value_or(keep), options.unix_gid.value_or(keep)) != 0) {
      return fail_os(errno, "set the owner of", path);
    }
  }
  if (::listen(fd.get(), backlog) != 0) return fail_os(errno, "listen on", path);
  return fd;
}

Result<UniqueFd> listen_tcp(const std::string& text) {
  EBB_TRY(address, tcp_address(text));
  EBB_TRY(fd, make_socket(address.storage.ss_family, text));
  int on = 1;
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(fd.get(), address.get(), address.length) != 0 || ::listen(fd.get(), backlog) != 0) {
    if (errno == EADDRINUSE) return fail(Code::busy, "address in use: another process listens on {}", text);
    return fail_os(errno, "listen on", text);
  }
  return fd;
}

// "127.0.0.1:34567", as the kernel has bound it.
std::string bound_address(int fd) {
  SocketAddress address;
  address.length = sizeof address.storage;
  CHECK(getsockname(fd, address.get(), &address.length) == 0);
  char host[NI_MAXHOST], port[NI_MAXSERV];
  CHECK(getnameinfo(address.get(), address.length, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) == 0);
  return address.storage.ss_family == AF_INET6 ? fmt::format("[{}]:{}", host, port)
                                               : fmt::format("{}:{}", host, port);
}

}  // namespace

Result<std::unique_ptr<Listener>> SocketNetwork::listen(std::string address, StreamHandler handler) {
  bool is_unix = address.starts_with(unix_scheme);
  EBB_TRY(fd, is_unix ? listen_unix(address.substr(unix_scheme.size()), options_) : listen_tcp(address));
  auto bound = is_unix ? std::move(address) : bound_address(fd.get());
  return std::make_unique<SocketListener>(loop_, std::move(fd), std::move(bound), std::move(handler));
}

Task<Result<std::unique_ptr<Stream>>> SocketNetwork::connect(std::string text) {
  SocketAddress address;
  if (text.starts_with(unix_scheme)) {
    EBB_CO_TRY(known, resolve(text));
    address = known;
  } else {
    EBB_CO_TRY(found, co_await blocking(loop_, [text] { return resolve(text); }));
    address = found;
  }
  EBB_CO_TRY(fd, make_socket(address.storage.ss_family, text));
  int error = ::connect(fd.get(), address.get(), address.length) == 0 ? 0 : errno;
  auto stream = std::make_unique<SocketStream>(loop_, std::move(fd));
  if (error == EINPROGRESS) error = co_await stream->connected();
  // A socket that is not there yet, and one with a full backlog (EAGAIN), are both "try again".
  if (error != 0) {
    co_return fail(error == EACCES ? Code::invalid : Code::unavailable, "cannot connect to {}: {}", text,
                   std::strerror(error));
  }
  co_return stream;
}

}  // namespace ebb
