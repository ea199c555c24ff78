// HTTPS: a store is spoken to only if its certificate is vouched for, by the system or by the `ca` of the
// URL.
#include <arpa/inet.h>
#include <atomic>
#include <csignal>
#include <mutex>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

#include "platform/s3/test_certificate.h"
#include "platform/s3/test_s3_server.h"

namespace ebb {
namespace {

// Answers every request with the same object, one connection at a time, on a thread of its own.
class TlsServer {
 public:
  explicit TlsServer(const std::string& certificate_path) {
    certificate_.write_certificate(certificate_path);
    EXPECT_EQ(SSL_CTX_use_certificate(context_.get(), certificate_.certificate()), 1);
    EXPECT_EQ(SSL_CTX_use_PrivateKey(context_.get(), certificate_.key()), 1);
    sockaddr_in address{};
    address.sin_family = AF_INET, address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    EXPECT_EQ(bind(listener_, reinterpret_cast<sockaddr*>(&address), length), 0);
    EXPECT_EQ(listen(listener_, 8), 0);
    EXPECT_EQ(getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &length), 0);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  ~TlsServer() {
    shutdown(listener_, SHUT_RDWR);  // ends accept()
    thread_.join();
    close(listener_);
  }
  std::atomic<bool> breaks_off = false;  // closes within a request
  std::string url() const {
    return fmt::format("s3://pool?endpoint=https://127.0.0.1:{}&credentials=env", port_);
  }
  std::string seen() {
    std::lock_guard guard(mutex_);
    return seen_;
  }

 private:
  void serve() {
    // Clients may go in the middle of a reply. For this thread alone: that our side bears it is tested.
    sigset_t pipe;
    sigemptyset(&pipe), sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, nullptr);
    for (;;) {
      int fd = accept(listener_, nullptr, nullptr);
      if (fd < 0) return;
      std::unique_ptr<SSL, Freed<SSL_free>> ssl(SSL_new(context_.get()));
      SSL_set_fd(ssl.get(), fd);
      if (SSL_accept(ssl.get()) == 1) answer(ssl.get());
      close(fd);
    }
  }
  void answer(SSL* ssl) {
    char buffer[8192];
    int got;
    while ((got = SSL_read(ssl, buffer, sizeof buffer)) > 0) {
      if (breaks_off) return;
      std::lock_guard guard(mutex_);
      seen_.assign(buffer, static_cast<std::size_t>(got));
      std::string_view reply = "HTTP/1.1 200 OK\r\nETag: \"t\"\r\nContent-Length: 6\r\n\r\nsecure";
      SSL_write(ssl, reply.data(), static_cast<int>(reply.size()));
    }
  }

  TestCertificate certificate_;
  std::unique_ptr<SSL_CTX, Freed<SSL_CTX_free>> context_{SSL_CTX_new(TLS_server_method())};
  int listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int port_ = 0;
  std::mutex mutex_;
  std::string seen_;  // the last request
  std::thread thread_;
};

struct S3TlsTest : S3Test {
  TestFolder folder;
  std::string ca = folder / "ca.pem";
  TlsServer server{ca};
};

TEST_F(S3TlsTest, ACertificateOfTheCaInTheUrlIsTrusted) {
  auto store = open(server.url() + "&ca=" + ca);
  EXPECT_EQ(get(*store, "k"), "secure");
  ASSERT_TRUE(put(*store, "k", "body"));
  store.reset();
  EXPECT_TRUE(server.seen().contains("x-amz-content-sha256: UNSIGNED-PAYLOAD")) << "TLS vouches for the body";
}

TEST_F(S3TlsTest, AnUnknownCertificateIsRefusedAndNothingIsSent) {
  auto store = open(server.url());
  EXPECT_EQ(code_of_get(*store, "k"), Code::invalid);
  store.reset();
  EXPECT_EQ(server.seen(), "");
}

// Writing to a connection that is gone is an error of that request, and no signal that ends the process.
TEST_F(S3TlsTest, AConnectionThatBreaksWithinALargePutIsUnavailable) {
  limits.retries_max = 0;
  server.breaks_off = true;
  auto store = open(server.url() + "&ca=" + ca);
  for (int i = 0; i < 3; ++i)
    EXPECT_EQ(put(*store, "k", std::string(8 * MiB, 'x'), PutCondition::if_absent()).error().code,
              Code::unavailable);
}

TEST_F(S3TlsTest, ACaFileThatIsNotThereIsRefused) {
  auto store = open(server.url() + "&ca=" + (folder / "none.pem"));
  auto refused = run(store->get("k"));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::invalid) << refused.error();
  EXPECT_TRUE(refused.error().message.contains("none.pem")) << refused.error();
}

}  // namespace
}  // namespace ebb
