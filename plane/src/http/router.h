// Router: requests of protocol.md section 4 to operations of a Plane, and results to answers. Knows
// no sockets and no HTTP library.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "http/backoff.h"
#include "http/request_head.h"
#include "writ/base/log_context.h"
#include "writ/plane/plane.h"
#include "writ/protocol/json.h"

namespace writ::plane::http {

struct Request {
  const RequestHead& head;
  std::string id;          // for the log and the answer
  std::string peer;        // address
  std::string peer_group;  // PeerAddress::group
  bool peer_is_loopback = false;
  // Reads the whole body in pieces; false where the connection broke or `take` said stop.
  std::function<bool(const std::function<bool(std::string_view)>& take)> read_body;
  // True once nobody waits for the answer any more.
  std::function<bool()> peer_gone;
};

struct Response {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;
  // Instead of `body`: a blob, checked against its name on the way out.
  std::optional<Plane::Blob> blob;
  std::string blob_hash;
  std::shared_ptr<const log::RunContext> run;  // of which the request was; else null
  // Instead of `body`: lines, written as they come.
  std::function<Status(const std::function<Status(std::string_view)>& write)> lines;
};

class Router {
 public:
  Router(Plane& plane, const Clock& clock) : plane_(plane), clock_(clock), backoff_(clock) {}
  Response Handle(const Request& request);
  void Stop() { stopping_ = true; }  // long polls end soon
  // Store, policy and key, looked at once a second at most; the code of what is wrong, or empty.
  std::string NotReady();
  void Damaged(const std::string& hash) { plane_.QuarantineBlob(hash); }

  static Response FromError(const Error& error);

 private:
  using Handler = Response (Router::*)(const Request&, const std::string& id);
  struct Route;
  static const std::vector<Route>& Routes();

  Response Health(const Request&, const std::string&);
  Response Ready(const Request&, const std::string&);
  Response Enroll(const Request&, const std::string&);
  Response Claim(const Request&, const std::string&);
  Response Acknowledge(const Request&, const std::string& id);
  Response Decline(const Request&, const std::string& id);
  Response Lease(const Request&, const std::string& id);
  Response Late(const Request&, const std::string& id);
  Response Rotate(const Request&, const std::string&);
  Response RevokeRunner(const Request&, const std::string& id);
  Response AskRotation(const Request&, const std::string& id);
  Response Keys(const Request&, const std::string&);
  Response Events(const Request&, const std::string& id);
  Response Complete(const Request&, const std::string& id);
  Response PutLog(const Request&, const std::string& id);
  Response GetLog(const Request&, const std::string& id);
  Response PutBlob(const Request&, const std::string&);
  Response PutPiece(const Request&, const std::string& hash);
  Response GetBlob(const Request&, const std::string& hash);
  Response Submit(const Request&, const std::string&);
  Response Runs(const Request&, const std::string&);
  Response Run(const Request&, const std::string& id);
  Response Artifacts(const Request&, const std::string& id);
  Response Bundle(const Request&, const std::string& id);
  Response Approve(const Request&, const std::string& id);
  Response Cancel(const Request&, const std::string& id);
  Response Runners(const Request&, const std::string&);
  Response Policy(const Request&, const std::string&);
  Response Export(const Request&, const std::string&);
  Response EnrollTokens(const Request&, const std::string&);
  Response Principals(const Request&, const std::string&);

  void CountUpload(const char* way, bool good, std::uint64_t bytes);
  // The answer by its route, and the log lines of a run's requests with its trace.
  Response Dispatch(const Route& route, const Request& request, const std::string& id);
  std::string TraceOf(const std::string& run_id);

  struct OfferOrder {
    std::string token, pool, only_run;
    std::chrono::milliseconds wait{0};
    const protocol::RunnerCapabilities* can = nullptr;
  };
  Response TakeOffer(const Request& request, const OfferOrder& order);
  // True once nobody waits for the answer or the server stops.
  std::function<bool()> Abandoned(const Request& request);

  // The bearer of the request, with one of the roles.
  Result<Caller> Bearer(const Request& request, const std::vector<Role>& roles);
  // The holder of a claim, or a bearer with one of the roles: who may move blobs.
  Status ClaimOrBearer(const Request& request, const std::vector<Role>& roles);
  // The error as it is to be answered: a wrong credential is counted, and while its address backs
  // off it is kOverloaded "auth.backoff" instead.
  Error Counted(const Request& request, Error error);
  Response Answer(const Request& request, Error error) {
    return FromError(Counted(request, std::move(error)));
  }
  Result<std::string> Body(const Request& request) {
    return Body(request, plane_.config().max_json_bytes);
  }
  Result<std::string> Body(const Request& request, std::uint64_t limit);
  Result<json::Value> JsonBody(const Request& request);

  Plane& plane_;
  const Clock& clock_;
  Backoff backoff_;
  std::atomic<bool> stopping_{false};
  std::mutex traces_mutex_;                                 // guards traces_
  std::map<std::string, std::string, std::less<>> traces_;  // of runs; bounded
  std::mutex ready_mutex_;                                  // guards the two below
  std::chrono::nanoseconds ready_at_{-1};
  std::string not_ready_;  // the code of what is wrong; empty: nothing
};

}  // namespace writ::plane::http
