// What a proxy process tells the runner while it works, and its closing report.
//
// Events are numbered from 0 without gaps, in the order in which things were decided. A decision's
// event has left the proxy *before* the thing decided is done, so a proxy that dies leaves no
// unrecorded connection behind. Host texts are normalised or, where that failed, PrintableHost.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "writ/egress/decision.h"

namespace writ::egress {

// One per target decided: `network.connected` is the first of each distinct (host, decision).
struct DecisionEvent {
  std::uint64_t seq = 0;
  std::uint64_t flow = 0;  // the same number as the FlowEvent that follows an allowed one
  Protocol protocol = Protocol::kHttp;
  std::string host;
  std::uint16_t port = 0;
  bool allowed = false;  // the protocol's "allowed" or "blocked"
  Reason reason = Reason::kNoRule;
  std::string rule_id;
  std::string detail;                  // printable, may be empty
  std::vector<std::string> addresses;  // resolved and checked; only these are dialled
};

// One per allowed flow, when it has ended.
struct FlowEvent {
  std::uint64_t seq = 0;
  std::uint64_t flow = 0;
  std::string host;
  std::uint16_t port = 0;
  std::string rule_id;
  std::string dialled;           // the address connected to; empty where none answered
  std::uint64_t bytes_up = 0;    // job to upstream, as written to the upstream socket
  std::uint64_t bytes_down = 0;  // upstream to job, as written to the job's socket
  std::uint64_t duration_us = 0;
  // done, client-closed, upstream-closed, client-error, upstream-error, connect-failed,
  // connect-timeout, resolve-failed, resolve-timeout, idle-timeout, total-timeout, refused, stopped
  std::string close_reason;
};

// A request that never became a target: malformed, without token, from a foreign uid, over limits.
struct RefusalEvent {
  std::uint64_t seq = 0;
  Reason reason = Reason::kMalformed;
  std::string code;  // e.g. "http.bare_lf", "host.percent"
  int status = 0;    // what the job was answered; 0 = closed without an answer
};

struct Counters {
  std::uint64_t accepted = 0;  // connections taken from listeners
  std::uint64_t closed = 0;
  std::uint64_t requests = 0;  // heads begun (at least one byte)
  std::uint64_t allowed = 0;
  std::uint64_t denied = 0;           // by policy, a target being known
  std::uint64_t malformed = 0;        // 400, 408, 413, 417, 431, 501, 505: no target
  std::uint64_t unauthenticated = 0;  // 407
  std::uint64_t foreign_peer = 0;     // connections
  std::uint64_t overloaded = 0;       // connections answered 503
  std::uint64_t sni_refused = 0;      // allowed by name, then refused by the first flight (L23)
  std::uint64_t upstream_failed = 0;  // allowed, then 502 or 504
  std::uint64_t flows_closed = 0;     // FlowEvents sent
  std::uint64_t bytes_up = 0;         // sums over flows
  std::uint64_t bytes_down = 0;
  std::uint64_t events = 0;  // DecisionEvents, FlowEvents and RefusalEvents sent

  bool operator==(const Counters&) const = default;
};

// The proxy is gone without a closing report. Delivered once, last; nothing reaches the network
// after it.
struct ProxyLost {
  std::string why;
};

using ProxyEvent = std::variant<DecisionEvent, FlowEvent, RefusalEvent, ProxyLost>;

struct ClosingReport {
  enum class Status : std::uint8_t {
    kReconciled,  // the proxy's final counters agree with themselves and with every event received
    kUnreconciled,  // they do not: `differences` says where
    kLost,  // the proxy died first; counters are what the runner saw, `differences` says why
  };
  Status status = Status::kLost;
  Counters counters;
  std::vector<std::string> differences;
  std::vector<std::string> resolver_overrides;  // names that the operator answered for
};
std::string_view ClosingStatusName(ClosingReport::Status status);  // "reconciled", ...

// Checks a proxy's final counters against themselves and against the tally of events received.
// Returns the differences, one sentence each; none = reconciled.
std::vector<std::string> Reconcile(const Counters& reported, const Counters& seen);

// Adds an event to a tally of what was seen.
void Tally(Counters& seen, const ProxyEvent& event);

// First sight of each distinct (host, decision): what becomes `network.connected` and
// `networkAccessed`.
class NetworkAccessed {
 public:
  // True the first time for this pair.
  bool FirstSight(const DecisionEvent& event);
  struct Entry {
    std::string host;
    bool allowed = false;
    bool operator==(const Entry&) const = default;
  };
  const std::vector<Entry>& entries() const { return entries_; }  // first seen first

 private:
  std::vector<Entry> entries_;
  std::set<std::pair<std::string, bool>> seen_;
};

}  // namespace writ::egress
