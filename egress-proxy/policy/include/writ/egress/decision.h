// Decision: the pure function over (rules, host, port, resolved addresses, first TLS record).
//
// Taken in three steps, because each must be known before the next fact may be asked for: a denied
// name is not resolved (L24), a denied address is not dialled (L22), a wrong SNI gets no byte
// through (L23). Same facts, same answer; no clock, no state.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "writ/egress/rules.h"

namespace writ::egress {

enum class Reason : std::uint8_t {
  kAllowed,
  kNoRule,  // nothing matches: denied by default (L5)
  kRuleDenies,
  kPort,            // the host is allowed, this port is not
  kLiteralAddress,  // an address in place of a name, and no rule names it
  kAddressClass,    // the name leads to an address that no grant covers (L22)
  kNoAddress,       // it leads nowhere
  kProtected,       // the proxy itself, the plane, the runner
  kSniMismatch,     // L23
  kSniMissing,
  kNotTls,  // a tunnel must carry TLS unless the rule grants raw bytes
  kEncryptedHello,
  kNestedConnect,    // a second CONNECT inside a raw tunnel (L29)
  kBadHost,          // L21
  kMalformed,        // L29
  kUnauthenticated,  // no or wrong session token
  kForeignPeer,      // the connecting socket belongs to another uid
  kOverloaded,
};
// Stable words: "allowed", "no-rule", "address-class", "sni-mismatch", ...
std::string_view ReasonName(Reason reason);
std::optional<Reason> ParseReason(std::string_view name);

enum class Protocol : std::uint8_t { kHttp, kConnect, kSocks };

struct Target {
  Protocol protocol = Protocol::kHttp;
  HostName host;
  std::uint16_t port = 0;
};

struct Decision {
  bool allowed = false;
  Reason reason = Reason::kNoRule;
  std::string rule_id;   // "default" where no rule matched
  TunnelGrants grants;   // of the rule that allowed
  std::string detail{};  // the address and its class, or the SNI seen; may be empty; printable
};

Decision DecideHost(const RuleSet& rules, const Target& target);

// `addresses`: everything the name resolved to (or the literal). One forbidden address among
// them refuses the whole answer: a mixed answer is what rebinding looks like.
Decision DecideAddresses(const RuleSet& rules, const Decision& host_decision, const Target& target,
                         const std::vector<IpAddress>& addresses);

// What the first bytes of a tunnel (CONNECT or SOCKS) turned out to be.
struct FirstFlight {
  enum class Kind : std::uint8_t { kTls, kOther };
  Kind kind = Kind::kOther;
  std::optional<std::string> sni;  // raw, as sent
  bool encrypted_hello = false;
};
Decision DecideFirstFlight(const Decision& host_decision, const Target& target,
                           const FirstFlight& first);

}  // namespace writ::egress
