// Whom a pool over HTTPS is trusted to: only a server whose certificate the URL, or the system, vouches for, and that is the one
// of its name. What the conformance suite does over TLS it does with such a server.
#include <gtest/gtest.h>

#include "platform/s3/pool_store.h"
#include "platform/s3/s3_store.h"
#include "platform/s3/test_certificate.h"
#include "test_pools.h"

namespace ebb::s3test {
namespace {

struct TlsTest : testing::Test {
  std::unique_ptr<ReclaimableStore> open(std::string url) {
    return run_until_done(loop, open_pool_store(loop, std::move(url))).value();
  }
  // Neither is anything read nor written, and the operator is told that it is the certificate.
  void expect_refused(std::string url, std::string_view why) {
    auto store = open(std::move(url));
    auto body = std::make_shared<const Bytes>(to_bytes("x"));
    auto got = run_until_done(loop, store->get("k"));
    auto put = run_until_done(loop, store->put("k", body, PutCondition::if_absent()));
    ASSERT_FALSE(got);
    ASSERT_FALSE(put);
    for (const auto* error : {&got.error(), &put.error()}) {
      EXPECT_EQ(error->code, Code::invalid) << *error;
      EXPECT_TRUE(error->message.contains(why)) << *error;
    }
    auto trusted = open(server.url("p"));
    EXPECT_EQ(run_until_done(loop, trusted->get("k")).error().code, Code::not_found);
  }
  AsioLoop loop;
  OwnServer server{{}, Transport::tls};
};

TEST_F(TlsTest, AServerThatNobodyVouchesForIsRefused) {
  expect_refused(server.url_without_ca("p"), "self-signed certificate");
}

TEST_F(TlsTest, AnotherAuthorityThanTheUrlsIsRefused) {
  TestFolder folder;
  TestCertificate().write_certificate(folder / "other.pem");
  expect_refused(server.url_without_ca("p") + "&ca=" + (folder / "other.pem"), "certificate");
}

TEST_F(TlsTest, ATrustedCertificateOfAnotherHostIsRefused) {
  expect_refused(server.url_without_ca("p", "localhost") + "&ca=" + server.ca_file(), "localhost");
}

TEST_F(TlsTest, AServerThatSpeaksNoTlsIsUnavailableAndLearnsNothing) {
  OwnServer plain;
  auto url = plain.url("p");
  url.replace(url.find("http://"), 7, "https://");
  S3Limits limits;
  limits.retries_max = 0, limits.transfer.connect = 500ms;
  S3Store store(loop, parse_s3_url(url).value(), {}, limits);
  EXPECT_EQ(run_until_done(loop, store.get("k")).error().code, Code::unavailable);
  EXPECT_TRUE(plain.stats().requests.empty());
}

}  // namespace
}  // namespace ebb::s3test
