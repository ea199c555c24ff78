// A certificate for tests, made when it is needed: it vouches for itself, as 127.0.0.1 and nobody else.
#pragma once
#include <cstdio>
#include <memory>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <string>

#include "base/check.h"

namespace ebb {

template <auto Free>
struct Freed {
  void operator()(auto* object) const { Free(object); }
};

class TestCertificate final {
 public:
  TestCertificate() : key_(EVP_RSA_gen(2048)), certificate_(X509_new()) {
    auto* c = certificate_.get();
    X509_set_version(c, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(c), 1);
    X509_gmtime_adj(X509_getm_notBefore(c), -3600);
    X509_gmtime_adj(X509_getm_notAfter(c), 3600);
    X509_set_pubkey(c, key_.get());
    auto* name = X509_get_subject_name(c);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>("ebb test"),
                               -1, -1, 0);
    X509_set_issuer_name(c, name);
    extend(NID_subject_alt_name, "IP:127.0.0.1");
    extend(NID_basic_constraints, "CA:TRUE");
    CHECK(X509_sign(c, key_.get(), EVP_sha256()) > 0);
  }
  EVP_PKEY* key() const { return key_.get(); }
  X509* certificate() const { return certificate_.get(); }
  void write_certificate(const std::string& path) const {
    CHECK(PEM_write_X509(open(path).get(), certificate_.get()) == 1);
  }
  void write_key(const std::string& path) const {
    CHECK(PEM_write_PrivateKey(open(path).get(), key_.get(), nullptr, nullptr, 0, nullptr, nullptr) == 1);
  }

 private:
  using File = std::unique_ptr<FILE, Freed<fclose>>;
  static File open(const std::string& path) {
    File file(fopen(path.c_str(), "w"));
    CHECK(file != nullptr);
    return file;
  }
  void extend(int kind, const char* value) {
    auto* extension = X509V3_EXT_conf_nid(nullptr, nullptr, kind, value);
    CHECK(extension != nullptr && X509_add_ext(certificate_.get(), extension, -1) == 1);
    X509_EXTENSION_free(extension);
  }
  std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY_free>> key_;
  std::unique_ptr<X509, Freed<X509_free>> certificate_;
};

}  // namespace ebb
