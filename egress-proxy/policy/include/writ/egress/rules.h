// Rules: what a session may reach, as a value. Written by the operator, narrowed by the contract.
//
// Order matters: the first rule that matches a target decides, and its id is what the job and the
// receipt are told (L28). No rule matches: denied (L5). Rules say which *names* may be reached;
// which *addresses* may be dialled is the business of the address classes (L22) and of
// AddressGrant.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "writ/base/result.h"
#include "writ/egress/address.h"
#include "writ/egress/host_name.h"

namespace writ::egress {

// "host.example", "*.example.com" (any name below it, never the apex; at least two labels after the
// star), "192.0.2.7" or "[2001:db8::7]" (that literal alone).
class HostPattern {
 public:
  static Result<HostPattern> Parse(std::string_view text);
  bool Matches(const HostName& host) const;
  // What both match; nullopt where nothing can match both.
  static std::optional<HostPattern> Intersect(const HostPattern& a, const HostPattern& b);
  std::string ToString() const;
  bool is_wildcard() const { return wildcard_; }
  bool operator==(const HostPattern&) const = default;

 private:
  HostPattern(HostName host, std::string suffix, bool wildcard)
      : host_(std::move(host)), suffix_(std::move(suffix)), wildcard_(wildcard) {}
  HostName host_;       // the exact host, or the name after "*."
  std::string suffix_;  // ".example.com" of a wildcard
  bool wildcard_ = false;
};

// What a rule may permit beyond a TLS tunnel whose SNI is the CONNECT host (L23). Only an
// operator's rule carries grants.
enum class TunnelGrant : std::uint8_t {
  kRawBytes = 1,        // CONNECT may carry anything, e.g. ssh
  kMissingSni = 2,      // TLS without SNI
  kEncryptedHello = 4,  // TLS with Encrypted ClientHello: the real name cannot be seen
};
class TunnelGrants {
 public:
  TunnelGrants() = default;
  void Add(TunnelGrant grant) {
    bits_ = static_cast<std::uint8_t>(bits_ | static_cast<std::uint8_t>(grant));
  }
  bool Has(TunnelGrant grant) const { return (bits_ & static_cast<std::uint8_t>(grant)) != 0; }
  bool operator==(const TunnelGrants&) const = default;

 private:
  std::uint8_t bits_ = 0;
};

struct Rule {
  enum class Effect : std::uint8_t { kAllow, kDeny };
  std::string id;  // [A-Za-z0-9_.:+-]{1,128}, unique in its set
  Effect effect = Effect::kAllow;
  HostPattern host;
  // nullopt: 80 for plain HTTP and 443 for CONNECT; of a deny rule: every port.
  std::optional<std::uint16_t> port;
  TunnelGrants grants;
};

// The operator's leave to dial addresses that are not public (L22): "these ranges are meant".
struct AddressGrant {
  std::string id;
  Cidr range;
};

// An address that is never dialled, whatever a rule or grant says: the plane, the runner's own
// endpoints. The proxy adds its own listeners by itself.
struct ProtectedEndpoint {
  IpAddress address;
  std::optional<std::uint16_t> port;  // nullopt: every port
};

// What happens to a public name that no rule matches. kAllowPublic is `network.defaultDeny: false`
// of a contract *and* the operator's grant for it; the address rules stay.
enum class Unmatched : std::uint8_t { kDeny, kAllowPublic };

struct RuleSet {
  std::vector<Rule> rules;
  std::vector<AddressGrant> address_grants;
  std::vector<ProtectedEndpoint> never;
  Unmatched unmatched = Unmatched::kDeny;
};

// Ids well formed and unique, ports not 0. Error codes: egress.rule_id, egress.rule_port.
Status Validate(const RuleSet& rules);

struct OperatorEgress {
  // nullopt: the operator does not narrow. An empty list allows nothing (L5).
  std::optional<std::vector<Rule>> rules;
  std::vector<AddressGrant> address_grants;
  std::vector<ProtectedEndpoint> never;
};

// The contract's allowHosts cut down by the operator (L6). The result never matches a target that
// either side alone would refuse. Ids: "contract.N" (N = place in allowHosts), or
// "contract.N+<operator id>" where both speak; the operator's deny rules come first under their own
// ids. A contract names hosts, not ports: the default ports, unless the operator's rule for the
// host says which one. Grants come from the operator's rule only. Error: the first host of the
// contract that is not a pattern (kInvalid, "egress.contract_host").
Result<RuleSet> Narrow(const std::vector<std::string>& contract_allow_hosts,
                       const OperatorEgress& op);

}  // namespace writ::egress
