#include "api_client.h"

#include <curl/curl.h>

#include <cerrno>
#include <utility>

#include "monitor_process.h"

namespace writ::backends::microvm {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr std::size_t kMaxHeaderBytes = 16 * 1024;
constexpr milliseconds kLook{1};  // for a socket that is not there yet
constexpr std::size_t kMaxDepth = 32;

struct Answer {
  std::string body;
  std::size_t header_bytes = 0;
  bool too_long = false;
};

std::size_t OnBody(char* data, std::size_t size, std::size_t count, void* to) {
  auto& answer = *static_cast<Answer*>(to);
  answer.too_long = answer.too_long || answer.body.size() + size * count > kMaxAnswerBytes;
  if (answer.too_long) return 0;  // libcurl ends the transfer
  answer.body.append(data, size * count);
  return size * count;
}

std::size_t OnHeader(char*, std::size_t size, std::size_t count, void* to) {
  auto& answer = *static_cast<Answer*>(to);
  answer.header_bytes += size * count;
  answer.too_long = answer.too_long || answer.header_bytes > kMaxHeaderBytes;
  return answer.too_long ? 0 : size * count;
}

Error Failed(const ApiRequest& request, const std::string& what) {
  return {ErrorKind::kUnavailable, "microvm.api",
          "the monitor's answer to " + request.method + " " + request.path + " " + what};
}

// Firecracker says {"fault_message": ...}, Cloud Hypervisor ["...", "..."].
std::string Reason(const std::string& body) {
  auto value = json::Parse(body, {.max_depth = kMaxDepth, .max_bytes = kMaxAnswerBytes});
  if (!value) return Printable(body);
  if (auto fault = value->FindString("fault_message")) return Printable(*fault);
  std::string all;
  if (const json::Array* chain = value->if_array())
    for (const json::Value& one : *chain)
      if (const std::string* text = one.if_string()) all += (all.empty() ? "" : ": ") + *text;
  return Printable(all);
}

}  // namespace

ApiClient::ApiClient(EventLoop& loop, std::string socket)
    : loop_(loop), socket_(std::move(socket)) {
  static std::once_flag once;  // libcurl asks for one initialisation per process
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
  thread_ = std::thread([this] { Loop(); });
}

ApiClient::~ApiClient() {
  Abandon();
  thread_.join();
}

void ApiClient::Abandon() {
  *told_ = false;
  std::lock_guard lock(mutex_);
  stopped_ = true;
  wake_.notify_all();
}

void ApiClient::Run(std::vector<ApiRequest> requests, std::function<void(Status)> done) {
  std::lock_guard lock(mutex_);
  work_.push_back({std::move(requests), std::move(done)});
  wake_.notify_all();
}

void ApiClient::Loop() {
  for (;;) {
    Work work;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return stopped_ || !work_.empty(); });
      if (stopped_) return;
      work = std::move(work_.front());
      work_.pop_front();
    }
    Status status;
    for (const ApiRequest& request : work.requests) {
      status = Make(request);
      if (!status) break;
    }
    // Under the lock: once abandoned, nothing touches the loop any more.
    std::lock_guard lock(mutex_);
    if (stopped_) return;
    loop_.Post([told = told_, done = std::move(work.done), status] {
      if (*told) done(status);
    });
  }
}

Status ApiClient::Make(const ApiRequest& request) {
  const auto end = Clock::now() + request.bound;
  std::unique_ptr<CURL, void (*)(CURL*)> easy(curl_easy_init(), curl_easy_cleanup);
  std::unique_ptr<curl_slist, void (*)(curl_slist*)> headers(nullptr, curl_slist_free_all);
  for (const char* line : {"Content-Type: application/json", "Accept: application/json", "Expect:"})
    if (curl_slist* more = curl_slist_append(headers.get(), line)) {
      (void)headers.release();
      headers.reset(more);
    }
  if (!easy || !headers) return Failed(request, "could not be asked for");
  const std::string url = "http://localhost" + request.path;
  const std::string body = request.body.is_null() ? std::string() : json::Write(request.body);
  Answer answer;
  CURL* e = easy.get();
  curl_easy_setopt(e, CURLOPT_UNIX_SOCKET_PATH, socket_.c_str());
  curl_easy_setopt(e, CURLOPT_URL, url.c_str());
  curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http");
  curl_easy_setopt(e, CURLOPT_NOPROXY, "*");
  curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(e, CURLOPT_HTTP09_ALLOWED, 0L);
  curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(e, CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, request.method.c_str());
  if (!request.body.is_null()) {
    curl_easy_setopt(e, CURLOPT_POSTFIELDS, body.c_str());
    curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE, static_cast<long>(body.size()));
  }
  curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, OnBody);
  curl_easy_setopt(e, CURLOPT_WRITEDATA, &answer);
  curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, OnHeader);
  curl_easy_setopt(e, CURLOPT_HEADERDATA, &answer);
  CURLcode code = CURLE_COULDNT_CONNECT;
  // A monitor makes its socket some milliseconds after its start.
  while (code == CURLE_COULDNT_CONNECT) {
    const auto left = std::chrono::duration_cast<milliseconds>(end - Clock::now()).count();
    if (left <= 0) return Failed(request, "did not come: nobody listens");
    curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, static_cast<long>(left));
    code = curl_easy_perform(e);
    std::unique_lock lock(mutex_);
    if (code == CURLE_COULDNT_CONNECT && wake_.wait_for(lock, kLook, [this] { return stopped_; }))
      return Failed(request, "is not waited for any more");
  }
  if (answer.too_long) return Failed(request, "is longer than it may be");
  if (code == CURLE_OPERATION_TIMEDOUT) return Failed(request, "did not come in time");
  if (code != CURLE_OK) return Failed(request, std::string("broke: ") + curl_easy_strerror(code));
  long status = 0;
  curl_easy_getinfo(e, CURLINFO_RESPONSE_CODE, &status);
  if (status != request.expected)
    return Failed(request, "was " + std::to_string(status) + ": " + Reason(answer.body));
  if (!request.check) return {};
  auto value = json::Parse(answer.body, {.max_depth = kMaxDepth, .max_bytes = kMaxAnswerBytes});
  if (!value || !value->is_object()) return Failed(request, "is not what its API says");
  return request.check(*value);
}

}  // namespace writ::backends::microvm
