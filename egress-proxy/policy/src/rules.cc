#include "writ/egress/rules.h"

#include <algorithm>
#include <set>

namespace writ::egress {

Result<HostPattern> HostPattern::Parse(std::string_view text) {
  bool wildcard = text.starts_with("*.");
  if (wildcard) text.remove_prefix(2);
  auto host = HostName::Normalise(text);
  if (!host) return std::move(host).error();
  if (wildcard) {
    if (host->is_literal())
      return Error{ErrorKind::kInvalid, "host.wildcard", "a wildcard stands before an address"};
    if (host->text().find('.') == std::string::npos)
      return Error{ErrorKind::kInvalid, "host.wildcard",
                   "a wildcard needs at least two labels after the star",
                   "Write *.example.com, not *.com."};
  }
  std::string suffix = wildcard ? "." + host->text() : std::string();
  return HostPattern(std::move(*host), std::move(suffix), wildcard);
}

bool HostPattern::Matches(const HostName& host) const {
  if (!wildcard_) return host == host_;
  return !host.is_literal() && host.text().size() > suffix_.size() &&
         host.text().ends_with(suffix_);
}

std::optional<HostPattern> HostPattern::Intersect(const HostPattern& a, const HostPattern& b) {
  if (!a.wildcard_)
    return b.wildcard_ ? (b.Matches(a.host_) ? std::optional(a) : std::nullopt)
                       : (a.host_ == b.host_ ? std::optional(a) : std::nullopt);
  if (!b.wildcard_) return a.Matches(b.host_) ? std::optional(b) : std::nullopt;
  if (a.suffix_.ends_with(b.suffix_)) return a;  // both begin with a dot: whole labels
  if (b.suffix_.ends_with(a.suffix_)) return b;
  return std::nullopt;
}

std::string HostPattern::ToString() const {
  return (wildcard_ ? "*." : "") + host_.ForAuthority();
}

namespace {

bool IsRuleId(std::string_view id) {
  if (id.empty() || id.size() > 128) return false;
  return std::all_of(id.begin(), id.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == ':' || c == '+' || c == '-';
  });
}

Status CheckId(const std::string& id, std::set<std::string>& seen) {
  if (!IsRuleId(id))
    return Error{ErrorKind::kInvalid, "egress.rule_id",
                 "a rule's id is empty, too long or has odd characters"};
  if (id == "default" || !seen.insert(id).second)
    return Error{ErrorKind::kInvalid, "egress.rule_id", "two rules have the id " + id};
  return {};
}

}  // namespace

Status Validate(const RuleSet& rules) {
  std::set<std::string> seen;
  for (const Rule& rule : rules.rules) {
    WRIT_TRY(CheckId(rule.id, seen));
    if (rule.port == std::uint16_t{0})
      return Error{ErrorKind::kInvalid, "egress.rule_port",
                   "the rule " + rule.id + " names port 0"};
  }
  for (const AddressGrant& grant : rules.address_grants) WRIT_TRY(CheckId(grant.id, seen));
  return {};
}

Result<RuleSet> Narrow(const std::vector<std::string>& contract_allow_hosts,
                       const OperatorEgress& op) {
  RuleSet out;
  out.address_grants = op.address_grants;
  out.never = op.never;
  if (op.rules) {
    for (const Rule& rule : *op.rules)
      if (rule.effect == Rule::Effect::kDeny) out.rules.push_back(rule);
  }
  for (std::size_t i = 0; i < contract_allow_hosts.size(); ++i) {
    auto pattern = HostPattern::Parse(contract_allow_hosts[i]);
    if (!pattern)
      return Error{ErrorKind::kInvalid, "egress.contract_host",
                   "allowHosts/" + std::to_string(i) + " is not a host: " + pattern.error().message,
                   pattern.error().hint};
    std::string id = "contract." + std::to_string(i);
    if (!op.rules) {
      out.rules.push_back(Rule{id, Rule::Effect::kAllow, *pattern, std::nullopt, {}});
      continue;
    }
    for (const Rule& rule : *op.rules) {
      if (rule.effect != Rule::Effect::kAllow) continue;
      auto both = HostPattern::Intersect(*pattern, rule.host);
      if (both)
        out.rules.push_back(
            Rule{id + "+" + rule.id, Rule::Effect::kAllow, *both, rule.port, rule.grants});
    }
  }
  WRIT_TRY(Validate(out));
  return out;
}

}  // namespace writ::egress
