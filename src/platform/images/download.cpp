#include "platform/images/download.h"

#include <algorithm>
#include <cstdio>
#include <curl/curl.h>
#include <memory>

namespace ebb::images {
namespace {

constexpr long redirects_max = 10, connect_s = 30, stall_s = 60;

int on_progress(void* progress, curl_off_t total, curl_off_t done, curl_off_t, curl_off_t) {
  return (*static_cast<const Progress*>(progress))(static_cast<std::uint64_t>(done),
                                                   static_cast<std::uint64_t>(total))
             ? 0
             : 1;
}

}  // namespace

Status download(const std::string& url, const std::string& path, const Progress& progress) {
  static const bool is_ready = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
  std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> easy(is_ready ? curl_easy_init() : nullptr,
                                                           curl_easy_cleanup);
  if (!easy) return fail(Code::internal, "libcurl does not work here");
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "wbe"), std::fclose);
  if (!file) return fail(Code::unavailable, "cannot make {}", path);

  char said[CURL_ERROR_SIZE] = "";
  auto set = [&](CURLoption option, auto value) { curl_easy_setopt(easy.get(), option, value); };
  set(CURLOPT_URL, url.c_str());
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  // What was asked for in safety is not fetched without.
  set(CURLOPT_REDIR_PROTOCOLS_STR, url.starts_with("https:") ? "https" : "http,https");
  set(CURLOPT_FOLLOWLOCATION, 1L);
  set(CURLOPT_MAXREDIRS, redirects_max);
  set(CURLOPT_FAILONERROR, 1L);
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_CONNECTTIMEOUT, connect_s);
  set(CURLOPT_LOW_SPEED_LIMIT, 1L);
  set(CURLOPT_LOW_SPEED_TIME, stall_s);
  set(CURLOPT_ERRORBUFFER, static_cast<char*>(said));
  set(CURLOPT_USERAGENT, "ebb");
  set(CURLOPT_WRITEDATA, static_cast<void*>(file.get()));
  set(CURLOPT_NOPROGRESS, 0L);
  set(CURLOPT_XFERINFOFUNCTION, &on_progress);
  set(CURLOPT_XFERINFODATA, const_cast<void*>(static_cast<const void*>(&progress)));
  const auto result = curl_easy_perform(easy.get());
  const bool is_written = std::fflush(file.get()) == 0;
  long status = 0;
  curl_easy_getinfo(easy.get(), CURLINFO_RESPONSE_CODE, &status);
  if (result == CURLE_OK && status != 200)
    return fail(Code::invalid, "cannot download {}: the server answers with status {}", url, status);
  if (result == CURLE_OK && is_written) return {};
  if (result == CURLE_OK || result == CURLE_WRITE_ERROR)
    return fail(Code::unavailable,
                "cannot write {}: is there no room left? TMPDIR says where images are put meanwhile", path);
  const auto what = fmt::format("cannot download {}: {}", url, *said ? said : curl_easy_strerror(result));
  constexpr CURLcode of_the_address[] = {CURLE_UNSUPPORTED_PROTOCOL, CURLE_URL_MALFORMAT,
                                         CURLE_HTTP_RETURNED_ERROR, CURLE_TOO_MANY_REDIRECTS,
                                         CURLE_PEER_FAILED_VERIFICATION};
  bool is_wrong = std::ranges::find(of_the_address, result) != std::end(of_the_address);
  return fail(is_wrong ? Code::invalid : Code::unavailable, "{}", what);
}

}  // namespace ebb::images
