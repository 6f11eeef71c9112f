#include "writ/egress/proxy_event.h"

namespace writ::egress {

std::string_view ClosingStatusName(ClosingReport::Status status) {
  switch (status) {
    case ClosingReport::Status::kReconciled:
      return "reconciled";
    case ClosingReport::Status::kUnreconciled:
      return "unreconciled";
    case ClosingReport::Status::kLost:
      return "lost";
  }
  return "lost";
}

void Tally(Counters& seen, const ProxyEvent& event) {
  if (const auto* decision = std::get_if<DecisionEvent>(&event)) {
    ++seen.events;
    bool first_flight =
        decision->reason == Reason::kSniMismatch || decision->reason == Reason::kSniMissing ||
        decision->reason == Reason::kNotTls || decision->reason == Reason::kEncryptedHello ||
        decision->reason == Reason::kNestedConnect;
    if (decision->allowed) {
      ++seen.allowed;
    } else if (first_flight) {
      ++seen.sni_refused;
    } else {
      ++seen.denied;
    }
  } else if (const auto* flow = std::get_if<FlowEvent>(&event)) {
    ++seen.events;
    ++seen.flows_closed;
    seen.bytes_up += flow->bytes_up;
    seen.bytes_down += flow->bytes_down;
  } else if (const auto* refusal = std::get_if<RefusalEvent>(&event)) {
    ++seen.events;
    switch (refusal->reason) {
      case Reason::kUnauthenticated:
        ++seen.unauthenticated;
        break;
      case Reason::kForeignPeer:
        ++seen.foreign_peer;
        break;
      case Reason::kOverloaded:
        ++seen.overloaded;
        break;
      default:
        ++seen.malformed;
        break;
    }
  }
}

std::vector<std::string> Reconcile(const Counters& reported, const Counters& seen) {
  std::vector<std::string> differences;
  auto same = [&](const char* what, std::uint64_t a, std::uint64_t b) {
    if (a != b)
      differences.push_back(std::string(what) + ": " + std::to_string(a) + " against " +
                            std::to_string(b));
  };
  same("connections accepted and closed", reported.accepted, reported.closed);
  same("requests and what became of them", reported.requests,
       reported.allowed + reported.denied + reported.malformed + reported.unauthenticated);
  same("allowed and flows closed", reported.allowed, reported.flows_closed);
  same("allowed, reported and received", reported.allowed, seen.allowed);
  same("denied, reported and received", reported.denied, seen.denied);
  same("malformed, reported and received", reported.malformed, seen.malformed);
  same("unauthenticated, reported and received", reported.unauthenticated, seen.unauthenticated);
  same("foreign peers, reported and received", reported.foreign_peer, seen.foreign_peer);
  same("overloaded, reported and received", reported.overloaded, seen.overloaded);
  same("SNI refusals, reported and received", reported.sni_refused, seen.sni_refused);
  same("flows, reported and received", reported.flows_closed, seen.flows_closed);
  same("bytes up, reported and received", reported.bytes_up, seen.bytes_up);
  same("bytes down, reported and received", reported.bytes_down, seen.bytes_down);
  same("events, reported and received", reported.events, seen.events);
  return differences;
}

bool NetworkAccessed::FirstSight(const DecisionEvent& event) {
  if (!seen_.emplace(event.host, event.allowed).second) return false;
  entries_.push_back({event.host, event.allowed});
  return true;
}

}  // namespace writ::egress
