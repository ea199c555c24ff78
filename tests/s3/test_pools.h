// The object stores that the suite runs on: programs that are started, found out about and ended, and their
// pool URLs.
#pragma once
#include <memory>
#include <string>
#include <sys/types.h>
#include <vector>

#include "platform/real_env.h"
#include "platform/test_folder.h"
#include "s3_server.h"

namespace ebb::s3test {

// A child process. Ended by SIGTERM when destroyed, or with us.
class ChildProgram final {
 public:
  // Returns when it has printed a line; `limit_s` from now.
  static Result<std::unique_ptr<ChildProgram>> start(std::vector<std::string> words, int limit_s);
  ChildProgram(const ChildProgram&) = delete;
  ~ChildProgram();
  const std::string& first_line() const { return first_line_; }
  // Ends it with SIGKILL, and waits until it is gone.
  void kill();

 private:
  ChildProgram() = default;
  void end(int signal);
  pid_t pid_ = -1;
  UniqueFd output_;
  std::string first_line_;
};

inline constexpr std::string_view test_bucket = "ebb-test", test_access_key = "AKIATESTTESTTEST",
                                  test_secret_key = "a/secret+with=signs";

enum class Transport { plain, tls };

// ebb-test-s3 as a process, and its control.
class OwnServer final {
 public:
  // `more` options of the program. With TLS it has a certificate of its own, and its control cannot be reached.
  explicit OwnServer(std::vector<std::string> more = {}, Transport transport = Transport::plain);
  const std::string& address() const { return address_; }
  std::string url(std::string_view prefix) const;
  // Without a word about the certificate.
  std::string url_without_ca(std::string_view prefix, std::string_view host = "127.0.0.1") const;
  std::string ca_file() const { return folder_ / "certificate.pem"; }
  std::string host_style_url(std::string_view prefix) const;

  void set_faults(FaultPlan plan);
  void set_fault(Fault fault, std::string method, std::uint64_t count);
  void heal() { set_faults({}); }
  // `what` is lifecycle or replication.
  void set_bucket_rules(const std::string& what, std::string_view bucket, std::string xml);
  Stats stats();

  void kill() { program_->kill(); }
  void start_again();  // at the same address

 private:
  std::string credentials() const { return folder_ / "credentials"; }
  HttpResponse control(HttpRequest request);
  TestFolder folder_;
  std::vector<std::string> more_;
  const Transport transport_;
  std::unique_ptr<ChildProgram> program_;
  std::string address_;
};

// Ceph's radosgw as radosgw.py starts it.
class Radosgw final {
 public:
  Radosgw();
  std::string url(std::string_view prefix) const;
  std::string host_style_url(std::string_view prefix) const;

 private:
  std::unique_ptr<ChildProgram> program_;
  std::string endpoint_, bucket_, credentials_;
};

}  // namespace ebb::s3test
