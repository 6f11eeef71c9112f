// ProxyProcess: the runner's handle on one session's egress proxy.
//
// Spawn() starts `writ-egress-proxy` with one end of a SOCK_SEQPACKET pair as its only descriptor;
// Configure() sends the configuration in a sealed memory file, AwaitReady() hears that it was
// taken. They are apart because a process takes milliseconds for each, which its owner can spend
// otherwise. The process drops every privilege, never binds, and leaves when the socket closes:
// destroying the handle (or dying) ends all egress of the session.
//
// Threads: Spawn, Configure, AwaitReady, AddListener, Stop and the destructor are called by one
// owner. Events are delivered one at a time on a thread of the handle, in order; while the sink
// does not return, the proxy is held up once the socket is full and takes no further decision
// (back-pressure), and nothing is dropped. The sink must not call AddListener or Stop. After Stop()
// returns, the sink is not called again.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "writ/base/child.h"
#include "writ/base/result.h"
#include "writ/base/unique_fd.h"
#include "writ/egress/proxy_config.h"
#include "writ/egress/proxy_event.h"

namespace writ::egress {

// Whom the process becomes when the runner is root. Never uid 0.
struct ProxyIdentity {
  uid_t uid = 0;
  gid_t gid = 0;
};

// Who can open a connection to a listener's port.
enum class ListenerReach : std::uint8_t {
  kShared,   // other users of the host too: the session token (and allowed_uid) guard it
  kPrivate,  // only the job: a listener inside its network namespace, a guest's stream
};

struct ProxyStart {
  std::string executable;                 // absolute path of writ-egress-proxy
  std::optional<ProxyIdentity> identity;  // required when the caller is root
};

// A process that is coming up and has no rules yet. Destroying it ends it.
struct SpawnedProxy {
  UniqueFd socket;
  Child child;
};

class ProxyProcess {
 public:
  using Sink = std::function<void(const ProxyEvent&)>;

  // Does not wait for the process. Errors: egress.identity, those of Child::Spawn.
  static Result<SpawnedProxy> Spawn(const ProxyStart& start);
  // Does not wait for the process. Errors: egress.config.
  static Result<std::unique_ptr<ProxyProcess>> Configure(SpawnedProxy spawned,
                                                         const ProxyConfig& config, Sink sink);

  ProxyProcess(const ProxyProcess&) = delete;
  ProxyProcess& operator=(const ProxyProcess&) = delete;
  ~ProxyProcess();  // kills and reaps where Stop was not called

  // Returns when the process has dropped its privileges, installed its filter and taken the rules,
  // `deadline` from now at the latest; nothing else is called before. Errors: egress.start_failed
  // (with what the process said), after which the handle is of no use.
  Status AwaitReady(std::chrono::milliseconds deadline = std::chrono::seconds(5));

  // Hands over a listening stream socket (TCP or AF_UNIX), at any time. Returns when the proxy
  // accepts on it. Errors: egress.listener (not a listening socket; shared without a token),
  // egress.proxy_lost.
  Status AddListener(UniqueFd listener, ListenerReach reach);

  // Closes listeners, ends all flows, collects the last events and the counters; kills the process
  // when `deadline` has passed. Never fails: a proxy that died is a report of status kLost. The
  // process is dead and reaped when this returns.
  ClosingReport Stop(std::chrono::milliseconds deadline);

  bool alive() const;  // false once the proxy is lost or stopped
  pid_t pid() const;   // for messages only
  int pidfd() const;   // readable (poll) once the process has ended

 private:
  struct State;
  explicit ProxyProcess(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace writ::egress
