// A pool in an S3 bucket. GETs and unconditional PUTs are tried again; a conditional PUT is sent exactly
// once, and what has become of an unanswered one is the caller's to find out.
#pragma once
#include <memory>

#include "env/object_store.h"
#include "platform/asio_loop.h"
#include "platform/s3/curl_transport.h"
#include "platform/s3/s3_credentials.h"
#include "platform/s3/s3_url.h"

namespace ebb {

struct S3Limits {
  CurlLimits transfer;
  int retries_max = 4;
  Duration retry_first = 50ms, retry_max = 5s;  // doubled from try to try, with jitter
  Duration retry_total = 30s;                   // no further try begins after so long
};

// Whether If-Match wants the tag in quotes (the standard, AWS) or bare (radosgw 16 answers 412 to a quoted
// one).
enum class TagQuoting { unknown, quoted, bare };

class S3Store final : public ReclaimableStore, private StoreInspector {
 public:
  S3Store(AsioLoop& loop, S3Url url, Variables variables, S3Limits limits = {});
  S3Store(const S3Store&) = delete;
  // Ends everything under way: its callers get `unavailable`.
  ~S3Store() override;

  // The first if_match finds out the quoting by itself.
  Task<Result<ObjectTag>> put(std::string key, SharedBytes body, PutCondition condition) override;
  Task<Result<StoredObject>> get(std::string key) override;
  Task<Result<Bytes>> get_range(std::string key, std::uint64_t offset, std::size_t length) override;

  Task<Status> remove(std::string key) override;

  // The bucket's rules, as far as these credentials may read them.
  StoreInspector* inspector() override { return this; }

  // Tries it with a key of its own, probe/<nonce>/quoting. invalid: the store takes neither form.
  Task<Result<TagQuoting>> find_out_quoting();
  TagQuoting quoting() const;
  void set_quoting(TagQuoting quoting);

 private:
  Task<StoreFinding> expiry() override;
  Task<StoreFinding> replication() override;

  struct Core;
  std::shared_ptr<Core> core_;
};

}  // namespace ebb
