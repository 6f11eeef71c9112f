#include "writ/egress/decision.h"

#include <algorithm>
#include <array>
#include <utility>

namespace writ::egress {
namespace {

constexpr std::array<std::pair<Reason, std::string_view>, 18> kReasonNames = {{
    {Reason::kAllowed, "allowed"},
    {Reason::kNoRule, "no-rule"},
    {Reason::kRuleDenies, "rule-denies"},
    {Reason::kPort, "port"},
    {Reason::kLiteralAddress, "literal-address"},
    {Reason::kAddressClass, "address-class"},
    {Reason::kNoAddress, "no-address"},
    {Reason::kProtected, "protected"},
    {Reason::kSniMismatch, "sni-mismatch"},
    {Reason::kSniMissing, "sni-missing"},
    {Reason::kNotTls, "not-tls"},
    {Reason::kEncryptedHello, "encrypted-hello"},
    {Reason::kNestedConnect, "nested-connect"},
    {Reason::kBadHost, "bad-host"},
    {Reason::kMalformed, "malformed"},
    {Reason::kUnauthenticated, "unauthenticated"},
    {Reason::kForeignPeer, "foreign-peer"},
    {Reason::kOverloaded, "overloaded"},
}};

constexpr std::uint16_t DefaultPort(Protocol protocol) {
  return protocol == Protocol::kHttp ? 80 : 443;
}

Decision Deny(Reason reason, std::string rule_id, std::string detail = {}) {
  return Decision{false, reason, std::move(rule_id), {}, std::move(detail)};
}

Decision DenyAs(const Decision& allowed, Reason reason, std::string detail = {}) {
  return Deny(reason, allowed.rule_id, std::move(detail));
}

bool IsProtected(const RuleSet& rules, const IpAddress& address, std::uint16_t port) {
  return std::any_of(rules.never.begin(), rules.never.end(), [&](const ProtectedEndpoint& never) {
    return never.address == address && (!never.port || *never.port == port);
  });
}

}  // namespace

std::string_view ReasonName(Reason reason) {
  for (const auto& [value, name] : kReasonNames)
    if (value == reason) return name;
  return "malformed";
}

std::optional<Reason> ParseReason(std::string_view name) {
  for (const auto& [value, text] : kReasonNames)
    if (text == name) return value;
  return std::nullopt;
}

Decision DecideHost(const RuleSet& rules, const Target& target) {
  const Rule* wrong_port = nullptr;
  for (const Rule& rule : rules.rules) {
    if (!rule.host.Matches(target.host)) continue;
    if (rule.effect == Rule::Effect::kDeny) {
      if (!rule.port || *rule.port == target.port) return Deny(Reason::kRuleDenies, rule.id);
      continue;
    }
    if (rule.port.value_or(DefaultPort(target.protocol)) != target.port) {
      if (wrong_port == nullptr) wrong_port = &rule;
      continue;
    }
    return Decision{true, Reason::kAllowed, rule.id, rule.grants, {}};
  }
  if (wrong_port != nullptr) return Deny(Reason::kPort, wrong_port->id);
  if (target.host.is_literal()) return Deny(Reason::kLiteralAddress, "default");
  if (rules.unmatched == Unmatched::kAllowPublic) {
    if (target.port != DefaultPort(target.protocol)) return Deny(Reason::kPort, "default");
    return Decision{true, Reason::kAllowed, "default", {}, {}};
  }
  return Deny(Reason::kNoRule, "default");
}

Decision DecideAddresses(const RuleSet& rules, const Decision& host_decision, const Target& target,
                         const std::vector<IpAddress>& addresses) {
  if (!host_decision.allowed) return host_decision;
  if (addresses.empty()) return DenyAs(host_decision, Reason::kNoAddress);
  for (const IpAddress& address : addresses) {
    if (IsProtected(rules, address, target.port))
      return DenyAs(host_decision, Reason::kProtected, address.ToString());
    AddressClass address_class = Classify(address);
    if (address_class == AddressClass::kPublic) continue;
    bool granted =
        std::any_of(rules.address_grants.begin(), rules.address_grants.end(),
                    [&](const AddressGrant& grant) { return grant.range.Contains(address); });
    if (!granted)
      return DenyAs(host_decision, Reason::kAddressClass,
                    address.ToString() + " is " + std::string(AddressClassName(address_class)));
  }
  return host_decision;
}

Decision DecideFirstFlight(const Decision& host_decision, const Target& target,
                           const FirstFlight& first) {
  if (!host_decision.allowed || host_decision.grants.Has(TunnelGrant::kRawBytes))
    return host_decision;
  if (first.kind != FirstFlight::Kind::kTls) return DenyAs(host_decision, Reason::kNotTls);
  if (first.encrypted_hello && !host_decision.grants.Has(TunnelGrant::kEncryptedHello))
    return DenyAs(host_decision, Reason::kEncryptedHello);
  if (!first.sni) {
    // RFC 6066 forbids an address as server name, so a literal that a rule names comes without one.
    if (target.host.is_literal() || host_decision.grants.Has(TunnelGrant::kMissingSni))
      return host_decision;
    return DenyAs(host_decision, Reason::kSniMissing);
  }
  auto sni = HostName::Normalise(*first.sni);
  if (!sni || !(*sni == target.host) || sni->is_literal() != target.host.is_literal())
    return DenyAs(host_decision, Reason::kSniMismatch, PrintableHost(*first.sni));
  return host_decision;
}

}  // namespace writ::egress
