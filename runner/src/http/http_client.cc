#include "writ/runner/http_client.h"

#include <curl/curl.h>

#include <algorithm>
#include <mutex>
#include <utility>

namespace writ::runner {
namespace {

void InitOnce() {
  static std::once_flag once;  // libcurl asks for one initialisation per process
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
}

struct Received {
  std::string body;
  std::uint64_t limit = 0;
  std::uint64_t seen = 0;
  bool too_large = false;
  CURL* easy = nullptr;
  const std::function<bool(std::string_view)>* sink = nullptr;
  std::optional<std::string> date, upload_offset;
};

std::size_t OnBody(char* data, std::size_t size, std::size_t count, void* to) {
  auto* received = static_cast<Received*>(to);
  std::size_t bytes = size * count;
  received->seen += bytes;
  if (received->seen > received->limit) {
    received->too_large = true;
    return 0;  // libcurl ends the transfer
  }
  if (*received->sink) {
    long status = 0;
    curl_easy_getinfo(received->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status == 200) return (*received->sink)(std::string_view(data, bytes)) ? bytes : 0;
  }
  received->body.append(data, bytes);
  return bytes;
}

std::size_t OnHeader(char* data, std::size_t size, std::size_t count, void* to) {
  auto* received = static_cast<Received*>(to);
  std::string_view line(data, size * count);
  auto is = [&](std::string_view name) {
    return line.size() > name.size() && line[name.size()] == ':' &&
           std::equal(name.begin(), name.end(), line.begin(),
                      [](char a, char b) { return a == (b >= 'A' && b <= 'Z' ? b + 32 : b); });
  };
  auto take = [&](std::size_t name, std::optional<std::string>& header) {
    std::string_view value = line.substr(name + 1);
    while (!value.empty() && (value.front() == ' ' || value.front() == '\t'))
      value.remove_prefix(1);
    while (!value.empty() && (value.back() == '\r' || value.back() == '\n' || value.back() == ' '))
      value.remove_suffix(1);
    if (value.size() < 64) header = std::string(value);
  };
  if (is("date")) take(4, received->date);
  if (is("writ-upload-offset")) take(18, received->upload_offset);
  return size * count;
}

bool IsTls(CURLcode code) {
  return code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CONNECT_ERROR ||
         code == CURLE_SSL_CERTPROBLEM || code == CURLE_SSL_CACERT_BADFILE ||
         code == CURLE_SSL_PINNEDPUBKEYNOTMATCH || code == CURLE_SSL_ISSUER_ERROR ||
         code == CURLE_SSL_CIPHER;
}

}  // namespace

struct HttpClient::Impl {
  HttpEndpoint endpoint;
  OriginUrl origin;
  const Clock* clock = nullptr;
  CURLM* multi = nullptr;
  ~Impl() {
    if (multi != nullptr) curl_multi_cleanup(multi);
  }
};

HttpClient::HttpClient(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpClient::HttpClient(HttpClient&&) noexcept = default;
HttpClient& HttpClient::operator=(HttpClient&&) noexcept = default;
HttpClient::~HttpClient() = default;
const OriginUrl& HttpClient::origin() const {
  return impl_->origin;
}

Result<HttpClient> HttpClient::Open(HttpEndpoint endpoint, const Clock& clock) {
  InitOnce();
  auto impl = std::make_unique<Impl>();
  WRIT_ASSIGN(impl->origin, ParseOriginUrl(endpoint.url));
  if (!endpoint.pinned_key.empty() && !endpoint.pinned_key.starts_with("sha256//"))
    return Error{.kind = ErrorKind::kInvalid,
                 .code = "plane.pin_invalid",
                 .message = "the pinned TLS key is not of the form sha256//BASE64",
                 .hint =
                     "openssl x509 -pubkey | openssl pkey -pubin -outform der | openssl dgst "
                     "-sha256 -binary | base64"};
  impl->endpoint = std::move(endpoint);
  impl->clock = &clock;
  impl->multi = curl_multi_init();
  if (impl->multi == nullptr)
    return Error{.code = "plane.client", .message = "libcurl could not be initialised"};
  return HttpClient(std::move(impl));
}

Result<HttpResponse> HttpClient::Do(const HttpRequest& request, const Deadline& deadline,
                                    std::stop_token stop) {
  const HttpEndpoint& endpoint = impl_->endpoint;
  const OriginUrl& origin = impl_->origin;
  const std::string host =
      origin.host.find(':') != std::string::npos ? "[" + origin.host + "]" : origin.host;
  const std::string address = host + ":" + std::to_string(origin.port);
  const std::string where = request.method + " to " + address;
  Deadline own = Deadline::After(*impl_->clock, deadline.Left());  // measures this call
  auto fail = [&](ErrorKind kind, std::string code, const std::string& what, std::string hint) {
    return Error{
        .kind = kind,
        .code = std::move(code),
        .message = where + " " + what + " after " + std::to_string(own.Spent().count()) + " ms",
        .hint = std::move(hint)};
  };
  if (deadline.Passed())
    return fail(ErrorKind::kUnavailable, "plane.timeout", "was not begun: its time was up", "");

  std::unique_ptr<CURL, void (*)(CURL*)> easy(curl_easy_init(), curl_easy_cleanup);
  if (!easy) return fail(ErrorKind::kInternal, "plane.client", "could not be prepared", "");
  const bool tls = origin.scheme == OriginUrl::Scheme::kHttps;
  std::string url =
      std::string(tls ? "https://" : "http://") + address + origin.path_prefix + request.path;
  Received received;
  CURL* e = easy.get();
  received.limit = request.max_response_bytes;
  received.easy = e;
  received.sink = &request.sink;
  curl_easy_setopt(e, CURLOPT_URL, url.c_str());
  curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, tls ? "https" : "http");
  curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(e, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(e, CURLOPT_TCP_NODELAY, 1L);
  curl_easy_setopt(e, CURLOPT_USERAGENT, "writ-runner");
  curl_easy_setopt(e, CURLOPT_PROXY,
                   endpoint.proxy.c_str());  // "" also switches the environment's off
  if (!endpoint.proxy.empty()) curl_easy_setopt(e, CURLOPT_NOPROXY, origin.loopback ? "*" : "");
  curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS,
                   static_cast<long>(std::max<std::int64_t>(
                       1, std::min<std::int64_t>(deadline.Left().count(), 15000))));
  curl_easy_setopt(e, CURLOPT_TIMEOUT_MS,
                   static_cast<long>(std::max<std::int64_t>(1, deadline.Left().count())));
  curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, OnBody);
  curl_easy_setopt(e, CURLOPT_WRITEDATA, &received);
  curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, OnHeader);
  curl_easy_setopt(e, CURLOPT_HEADERDATA, &received);
  if (tls) {
    const bool pin_alone = !endpoint.pinned_key.empty() && endpoint.ca_file.empty();
    curl_easy_setopt(e, CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
    curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER,
                     pin_alone ? 0L : 1L);  // the pin is then the whole verification
    curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, pin_alone ? 0L : 2L);
    if (!endpoint.ca_file.empty()) {
      curl_easy_setopt(e, CURLOPT_CAINFO, endpoint.ca_file.c_str());
      curl_easy_setopt(e, CURLOPT_CAPATH, nullptr);
    }
    if (!endpoint.pinned_key.empty())
      curl_easy_setopt(e, CURLOPT_PINNEDPUBLICKEY, endpoint.pinned_key.c_str());
    if (!endpoint.client_cert_file.empty())
      curl_easy_setopt(e, CURLOPT_SSLCERT, endpoint.client_cert_file.c_str());
    if (!endpoint.client_key_file.empty())
      curl_easy_setopt(e, CURLOPT_SSLKEY, endpoint.client_key_file.c_str());
  }
  std::unique_ptr<curl_slist, void (*)(curl_slist*)> headers(nullptr, curl_slist_free_all);
  auto add_header = [&](const std::string& line) {
    if (curl_slist* grown = curl_slist_append(headers.get(), line.c_str()); grown != nullptr) {
      (void)headers.release();
      headers.reset(grown);
    }
  };
  add_header("Accept: application/json, application/octet-stream");
  add_header("Expect:");
  const bool put = request.method == "PUT";
  if (request.method == "POST" || put) {
    curl_easy_setopt(e, CURLOPT_POST, 1L);
    if (put) curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, "PUT");
    curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
    curl_easy_setopt(e, CURLOPT_POSTFIELDS, request.body.empty() ? "" : request.body.data());
    add_header("Content-Type: " + (request.content_type.empty() ? std::string("application/json")
                                                                : request.content_type));
  } else if (request.method == "HEAD") {
    curl_easy_setopt(e, CURLOPT_NOBODY, 1L);
  } else {
    curl_easy_setopt(e, CURLOPT_HTTPGET, 1L);
  }
  if (request.bearer != nullptr && !request.bearer->empty()) {
    std::string line = "Authorization: Bearer ";
    line += request.bearer->Reveal();
    add_header(line);
    explicit_bzero(line.data(), line.size());
  }
  curl_easy_setopt(e, CURLOPT_HTTPHEADER, headers.get());

  CURLM* multi = impl_->multi;
  if (curl_multi_add_handle(multi, e) != CURLM_OK)
    return fail(ErrorKind::kInternal, "plane.client", "could not be prepared", "");
  struct Detach {
    CURLM* multi;
    CURL* easy;
    ~Detach() { curl_multi_remove_handle(multi, easy); }
  } detach{multi, e};
  std::stop_callback wake(stop, [multi] { curl_multi_wakeup(multi); });
  CURLcode code = CURLE_OK;
  curl_off_t moved = 0;
  Deadline silence = Deadline::After(*impl_->clock, request.silence);
  for (bool done = false; !done;) {
    int running = 0;
    if (curl_multi_perform(multi, &running) != CURLM_OK)
      return fail(ErrorKind::kInternal, "plane.client", "broke in libcurl", "");
    int left = 0;
    while (CURLMsg* message = curl_multi_info_read(multi, &left)) {
      if (message->msg == CURLMSG_DONE && message->easy_handle == e) {
        code = message->data.result;
        done = true;
      }
    }
    if (done) break;
    if (stop.stop_requested())
      return fail(ErrorKind::kCancelled, "plane.cancelled", "was given up on request", "");
    curl_off_t sent = 0, got = 0;
    curl_easy_getinfo(e, CURLINFO_SIZE_UPLOAD_T, &sent);
    curl_easy_getinfo(e, CURLINFO_SIZE_DOWNLOAD_T, &got);
    if (std::exchange(moved, sent + got) != sent + got)
      silence = Deadline::After(*impl_->clock, request.silence);
    if (deadline.Passed() || (request.silence.count() > 0 && silence.Passed())) {
      code = CURLE_OPERATION_TIMEDOUT;
      break;
    }
    auto wait = std::min<std::int64_t>(std::max<std::int64_t>(1, deadline.Left().count()), 1000);
    if (request.silence.count() > 0)
      wait = std::min(wait, std::max<std::int64_t>(1, silence.Left().count()));
    curl_multi_poll(multi, nullptr, 0, static_cast<int>(wait), nullptr);
  }
  if (received.too_large)
    return fail(ErrorKind::kInvalid, "plane.too_large",
                "got more than " + std::to_string(received.limit) + " bytes",
                "is this the plane's URL?");
  if (code == CURLE_OPERATION_TIMEDOUT)
    return fail(ErrorKind::kUnavailable, "plane.timeout", "got no full answer", "");
  if (IsTls(code))
    return fail(ErrorKind::kUnavailable, "plane.tls",
                std::string("failed in TLS (") + curl_easy_strerror(code) + ")",
                "check the plane's certificate, --plane-ca and the pinned key");
  if (code != CURLE_OK)
    return fail(ErrorKind::kUnavailable, "plane.unreachable",
                std::string("failed (") + curl_easy_strerror(code) + ")",
                "see that a plane is running there, and that nothing on the way stops it");
  HttpResponse response;
  long status = 0;
  curl_easy_getinfo(e, CURLINFO_RESPONSE_CODE, &status);
  response.status = static_cast<int>(status);
  const char* type = nullptr;
  curl_easy_getinfo(e, CURLINFO_CONTENT_TYPE, &type);
  if (type != nullptr) {
    std::string_view text(type);
    text = text.substr(0, text.find(';'));
    while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
    for (char c : text.substr(0, 100))
      response.content_type += c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  }
  response.body = std::move(received.body);
  response.date = std::move(received.date);
  response.upload_offset = std::move(received.upload_offset);
  response.duration = own.Spent();
  return response;
}

}  // namespace writ::runner
