// AccessServer: serves the access socket of one runner and leads each caller to the door of the
// session that it asked for. A thread that listens, and one per connection.
#pragma once

#include <condition_variable>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "writ/base/result.h"
#include "writ/base/unique_fd.h"
#include "writ/protocol/contract.h"
#include "writ/runner/access.h"

namespace writ::runner {

// One session's side.
class AccessDoor {
 public:
  virtual ~AccessDoor() = default;
  // One use, from its beginning to its end, in a thread of its own; several at once.
  virtual void Serve(const AccessRequest& request, AccessChannel& channel,
                     const protocol::Actor& actor) = 0;
  // Those who are being served come to an end, within a bound. Any thread.
  virtual void Hurry() = 0;
};

inline constexpr std::size_t kMaxAccessCallers = 32;

// Thread-safe.
class AccessServer {
 public:
  AccessServer();
  ~AccessServer();
  AccessServer(const AccessServer&) = delete;
  AccessServer& operator=(const AccessServer&) = delete;

  // From when something is granted; a second call does nothing. `state_dir`: locked by us.
  Status Listen(int state_dir);

  // `door` is borrowed until Close has returned, which is when nobody is being served there.
  void Open(const std::string& run_id, AccessDoor& door);
  void Close(const std::string& run_id);

 private:
  struct Door {
    AccessDoor* door = nullptr;
    std::size_t inside = 0;
    bool closing = false;
  };
  struct Caller {
    std::thread thread;
    bool over = false;
  };
  void Run();
  void Serve(UniqueFd socket);
  void JoinThoseOver();

  UniqueFd listener_, stop_;
  std::thread thread_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable left_;
  std::map<std::string, Door> doors_;
  std::list<Caller> callers_;
};

}  // namespace writ::runner
