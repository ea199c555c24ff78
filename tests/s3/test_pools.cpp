#include "test_pools.h"

#include <fcntl.h>
#include <fstream>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"
#include "platform/s3/test_certificate.h"

namespace ebb::s3test {
namespace {

constexpr int own_start_limit_s = 30;
constexpr int radosgw_start_limit_s = 100;  // it gives up by itself after 60 s

// A test without its server proves nothing, so it ends here and counts as failed.
template <class T>
T need(Result<T> result) {
  if (result) return std::move(*result);
  fmt::print(stderr, "{}\n", result.error());
  std::abort();
}

Result<std::string> read_line(int fd, int limit_s) {
  std::string line;
  auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(limit_s);
  for (;;) {
    auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    pollfd ready{fd, POLLIN, 0};
    if (left.count() <= 0 || ::poll(&ready, 1, static_cast<int>(left.count())) == 0)
      return fail(Code::unavailable, "it said nothing for {} s", limit_s);
    char c = 0;
    auto count = ::read(fd, &c, 1);
    if (count == 0) return fail(Code::unavailable, "it ended (its errors are above)");
    if (count < 0 && errno != EINTR) return fail_os(errno, "read", "its output");
    if (count == 1 && c == '\n') return line;
    if (count == 1) line += c;
  }
}

}  // namespace

Result<std::unique_ptr<ChildProgram>> ChildProgram::start(std::vector<std::string> words, int limit_s) {
  std::vector<char*> argv;
  for (auto& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return fail_os(errno, "make a pipe for", words[0]);
  std::unique_ptr<ChildProgram> child(new ChildProgram);
  child->output_ = UniqueFd(ends[0]);
  UniqueFd theirs(ends[1]);
  auto parent = ::getpid();
  child->pid_ = ::fork();
  if (child->pid_ < 0) return fail_os(errno, "start", words[0]);
  if (child->pid_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (::getppid() != parent) ::_exit(1);
    ::dup2(theirs.get(), STDOUT_FILENO);
    ::execvp(argv[0], argv.data());
    ::_exit(127);
  }
  theirs.reset();
  auto line = read_line(child->output_.get(), limit_s);
  if (!line) return fail(std::move(line).error().within("start " + words[0] + " " + words.back()));
  child->first_line_ = std::move(*line);
  return child;
}

ChildProgram::~ChildProgram() { end(SIGTERM); }

void ChildProgram::kill() { end(SIGKILL); }

void ChildProgram::end(int signal) {
  if (pid_ <= 0) return;
  ::kill(pid_, signal);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
}

OwnServer::OwnServer(std::vector<std::string> more, Transport transport)
    : more_(std::move(more)), transport_(transport) {
  std::ofstream file(credentials());
  file << "[default]\naws_access_key_id = " << test_access_key
       << "\naws_secret_access_key = " << test_secret_key << "\n";
  file.close();
  if (transport_ == Transport::tls) {
    TestCertificate certificate;
    certificate.write_certificate(ca_file());
    certificate.write_key(folder_ / "key.pem");
    more_.insert(more_.end(), {"--certificate", ca_file(), "--key", folder_ / "key.pem"});
  }
  address_ = "127.0.0.1:0";
  start_again();
}

void OwnServer::start_again() {
  std::vector<std::string> words{EBB_TEST_S3,
                                 "--listen",
                                 address_,
                                 "--bucket",
                                 std::string(test_bucket),
                                 "--access-key",
                                 std::string(test_access_key),
                                 "--secret-key",
                                 std::string(test_secret_key)};
  words.insert(words.end(), more_.begin(), more_.end());
  program_ = need(ChildProgram::start(std::move(words), own_start_limit_s));
  constexpr std::string_view says = "listening on ";
  CHECK(program_->first_line().starts_with(says));
  address_ = program_->first_line().substr(says.size());
}

std::string OwnServer::url(std::string_view prefix) const {
  return url_without_ca(prefix) + (transport_ == Transport::tls ? "&ca=" + ca_file() : "");
}

std::string OwnServer::url_without_ca(std::string_view prefix, std::string_view host) const {
  return fmt::format("s3://{}/{}?endpoint={}://{}{}&region=us-east-1&style=path&credentials={}", test_bucket,
                     prefix, transport_ == Transport::tls ? "https" : "http", host,
                     address_.substr(address_.find(':')), credentials());
}

std::string OwnServer::host_style_url(std::string_view prefix) const {
  return fmt::format("s3://{}/{}?endpoint=http://localhost:{}&region=us-east-1&style=host&credentials={}",
                     test_bucket, prefix, address_.substr(address_.find(':') + 1), credentials());
}

// On a loop of its own: the test's may be in the middle of something.
HttpResponse OwnServer::control(HttpRequest request) {
  RealEnv env;
  auto response = need(run_until_done(env.loop, env.http.request(address_, std::move(request), 10s)));
  CHECK(response.status == 200);
  return response;
}

void OwnServer::set_faults(FaultPlan plan) {
  HttpRequest request;
  request.method = "PUT", request.target = "/-/faults", request.body = json::write_text(plan);
  control(std::move(request));
}

void OwnServer::set_fault(Fault fault, std::string method, std::uint64_t count) {
  FaultRule rule;
  rule.fault = fault, rule.method = std::move(method), rule.count = count;
  FaultPlan plan;
  plan.rules.push_back(std::move(rule));
  set_faults(std::move(plan));
}

void OwnServer::set_bucket_rules(const std::string& what, std::string_view bucket, std::string xml) {
  HttpRequest request;
  request.method = "PUT", request.target = fmt::format("/-/{}/{}", what, bucket),
  request.body = std::move(xml);
  control(std::move(request));
}

Stats OwnServer::stats() {
  HttpRequest request;
  request.target = "/-/stats";
  return need(json::read_text<Stats>(control(std::move(request)).body));
}

Radosgw::Radosgw() {
  program_ = need(ChildProgram::start({"python3", EBB_RADOSGW, "--die-with-parent"}, radosgw_start_limit_s));
  auto said = need(json::parse(program_->first_line()));
  auto text = [&](std::string_view name) { return std::string(said.as_object().at(name).as_string()); };
  endpoint_ = text("endpoint"), bucket_ = text("bucket"), credentials_ = text("credentials");
}

std::string Radosgw::url(std::string_view prefix) const {
  return fmt::format("s3://{}/{}?endpoint={}&region=us-east-1&style=path&credentials={}", bucket_, prefix,
                     endpoint_, credentials_);
}

std::string Radosgw::host_style_url(std::string_view prefix) const {
  return fmt::format("s3://{}/{}?endpoint=http://localhost{}&region=us-east-1&style=host&credentials={}",
                     bucket_, prefix, endpoint_.substr(endpoint_.rfind(':')), credentials_);
}

}  // namespace ebb::s3test
