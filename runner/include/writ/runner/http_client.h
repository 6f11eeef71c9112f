// HttpClient: one bounded HTTP exchange with one origin, over libcurl.
//
// It is not a general client: TLS is verified (CA file, or the pinned key of the plane's
// certificate), plain http goes to loopback only, redirects are not followed, proxy variables of
// the environment are ignored (a corporate proxy is configured or not used), bodies are bounded in
// both directions, and every call ends at its deadline or when its stop token fires. Errors carry
// host, method, code and duration; never headers, bodies or whole URLs (L10). Connections are kept
// between calls. One thread at a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "writ/base/clock.h"
#include "writ/base/result.h"
#include "writ/base/secret.h"
#include "writ/runner/deadline.h"

namespace writ::runner {

struct HttpEndpoint {
  std::string url{};  // "https://plane.example.com[:port]" or "http://127.0.0.1:port"; an optional
                      // path prefix
  std::string ca_file{};  // PEM; empty: the system's
  std::string
      pinned_key{};  // "sha256//BASE64" of the certificate's SPKI; without ca_file it alone decides
  std::string proxy{};  // corporate proxy URL; empty: none, whatever the environment says
  std::string client_cert_file{};  // PEM, for planes that ask for one
  std::string client_key_file{};
};

// The parts of a checked URL.
struct OriginUrl {
  enum class Scheme { kHttp, kHttps };
  Scheme scheme = Scheme::kHttps;
  std::string host;  // lower case; IPv6 without brackets
  std::uint16_t port = 0;
  std::string path_prefix;  // "" or "/x", no trailing "/"
  bool loopback = false;
};
// kInvalid "plane.url_invalid" / "plane.url_plain_http" with the reason. No user info, query or
// fragment.
Result<OriginUrl> ParseOriginUrl(std::string_view url);

struct HttpRequest {
  std::string method = "GET";      // GET, HEAD, POST or PUT
  std::string path;                // "/v1/..."; made by us, never from outside unchecked
  std::string content_type;        // of the body
  std::string_view body{};         // borrowed for the call
  const Secret* bearer = nullptr;  // Authorization: Bearer
  std::uint64_t max_response_bytes = 1 << 20;
  // Where set, the body of a 200 goes here piece by piece instead of into HttpResponse::body; false
  // ends the call.
  std::function<bool(std::string_view)> sink{};
  // Given up ("plane.timeout", and may be made again before the deadline) where no byte goes either
  // way for so long; 0: the deadline alone counts. For calls whose deadline is that of a large
  // blob.
  std::chrono::milliseconds silence{0};
};

struct HttpResponse {
  int status = 0;
  std::string content_type;  // lower case, without parameters
  std::string body;
  std::optional<std::string> date;           // the Date header, as sent
  std::optional<std::string> upload_offset;  // the Writ-Upload-Offset header, as sent
  std::chrono::milliseconds duration{0};
};

class HttpClient {
 public:
  static Result<HttpClient> Open(HttpEndpoint endpoint, const Clock& clock);
  HttpClient(HttpClient&&) noexcept;
  HttpClient& operator=(HttpClient&&) noexcept;
  ~HttpClient();

  const OriginUrl& origin() const;

  // One exchange, no retries. Any status is a value. kUnavailable: no answer (connection, TLS,
  // time-out: codes plane.unreachable, plane.tls, plane.timeout); kInvalid "plane.too_large";
  // kCancelled: the stop token.
  Result<HttpResponse> Do(const HttpRequest& request, const Deadline& deadline,
                          std::stop_token stop);

 private:
  struct Impl;
  explicit HttpClient(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace writ::runner
