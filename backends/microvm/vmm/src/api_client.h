// ApiClient: a monitor's API - HTTP/1.1 with JSON over a Unix socket - asked from a thread of its
// own, so that a monitor that writes its memory for seconds holds up nobody.
//
// A guest may own its monitor: an answer has at most kMaxAnswerBytes, is read within a deadline,
// and counts as "yes" only by the one status that the call may have. What a monitor says of an
// error is shown, printable and cut, and never acted upon.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "writ/backends/microvm/api_request.h"
#include "writ/backends/microvm/event_loop.h"
#include "writ/base/result.h"

namespace writ::backends::microvm {

inline constexpr std::size_t kMaxAnswerBytes = 256 * 1024;

class ApiClient {
 public:
  // `socket`: a path, which need not be there yet: the first call waits for it.
  ApiClient(EventLoop& loop, std::string socket);
  // Waits for the call that is being made: its peer is dead by then.
  ~ApiClient();
  ApiClient(const ApiClient&) = delete;
  ApiClient& operator=(const ApiClient&) = delete;

  // All of them in order; the first that fails ends it. `done` is called in the loop.
  void Run(std::vector<ApiRequest> requests, std::function<void(Status)> done);
  // From within a `done` too: nothing is told any more.
  void Abandon();

 private:
  struct Work {
    std::vector<ApiRequest> requests;
    std::function<void(Status)> done;
  };
  void Loop();
  Status Make(const ApiRequest& request);

  EventLoop& loop_;
  const std::string socket_;
  std::shared_ptr<bool> told_ = std::make_shared<bool>(true);  // the loop's thread only
  std::mutex mutex_;                                           // guards work_ and stopped_
  std::condition_variable wake_;
  std::deque<Work> work_;
  bool stopped_ = false;
  std::thread thread_;
};

}  // namespace writ::backends::microvm
