#include "writ/egress/rules_json.h"

#include <utility>

namespace writ::egress {
namespace {

using json::EnumName;

constexpr EnumName<Rule::Effect> kEffects[] = {{Rule::Effect::kAllow, "allow"},
                                               {Rule::Effect::kDeny, "deny"}};
constexpr EnumName<Unmatched> kUnmatched[] = {{Unmatched::kDeny, "deny"},
                                              {Unmatched::kAllowPublic, "allow-public"}};
constexpr EnumName<TunnelGrant> kGrants[] = {{TunnelGrant::kRawBytes, "raw-bytes"},
                                             {TunnelGrant::kMissingSni, "missing-sni"},
                                             {TunnelGrant::kEncryptedHello, "encrypted-hello"}};
constexpr std::size_t kMaxRules = 100'000;

template <typename E, std::size_t N>
std::string_view NameOf(const EnumName<E> (&table)[N], E value) {
  for (const auto& entry : table)
    if (entry.value == value) return entry.name;
  return table[0].name;
}

std::optional<std::uint16_t> OptionalPort(json::ObjectReader& reader) {
  auto port = reader.OptionalInteger("port", 1, 65535);
  if (!port) return std::nullopt;
  return static_cast<std::uint16_t>(*port);
}

// Visits the objects of an array value that stands at `pointer`.
template <typename Visit>
void ForEachObject(json::Issues& issues, const json::Value& list, const std::string& pointer,
                   Visit visit) {
  const json::Array* items = list.if_array();
  if (items == nullptr || items->size() > kMaxRules) {
    issues.Add("object.type", pointer, "must be an array of at most 100000 objects");
    return;
  }
  for (std::size_t i = 0; i < items->size(); ++i) {
    json::ObjectReader reader(issues, (*items)[i], json::PointerTo(pointer, i));
    visit(reader);
    reader.RefuseUnknown();
  }
}

IpAddress ReadAddress(json::Issues& issues, const std::string& text, const std::string& pointer) {
  auto address = IpAddress::Parse(text);
  if (!address) issues.Add("egress.address", pointer, "must be an IP address");
  return address.value_or(IpAddress{});
}

}  // namespace

json::Value RuleToJson(const Rule& rule) {
  json::Object out;
  out.Set("id", rule.id);
  out.Set("effect", NameOf(kEffects, rule.effect));
  out.Set("host", rule.host.ToString());
  if (rule.port) out.Set("port", static_cast<int>(*rule.port));
  json::Array grants;
  for (const auto& entry : kGrants)
    if (rule.grants.Has(entry.value)) grants.emplace_back(entry.name);
  if (!grants.empty()) out.Set("grants", std::move(grants));
  return out;
}

json::Value RuleSetToJson(const RuleSet& rules) {
  json::Array list;
  for (const Rule& rule : rules.rules) list.push_back(RuleToJson(rule));
  json::Array grants;
  for (const AddressGrant& grant : rules.address_grants) {
    json::Object entry;
    entry.Set("id", grant.id).Set("range", grant.range.ToString());
    grants.emplace_back(std::move(entry));
  }
  json::Array never;
  for (const ProtectedEndpoint& endpoint : rules.never) {
    json::Object entry;
    entry.Set("address", endpoint.address.ToString());
    if (endpoint.port) entry.Set("port", static_cast<int>(*endpoint.port));
    never.emplace_back(std::move(entry));
  }
  json::Object out;
  out.Set("rules", std::move(list));
  out.Set("addressGrants", std::move(grants));
  out.Set("never", std::move(never));
  out.Set("unmatched", NameOf(kUnmatched, rules.unmatched));
  return out;
}

json::Value OverrideToJson(const ResolverOverride& override_entry) {
  json::Array addresses;
  for (const IpAddress& address : override_entry.addresses)
    addresses.emplace_back(address.ToString());
  json::Object out;
  out.Set("name", override_entry.name).Set("addresses", std::move(addresses));
  return out;
}

json::Value LimitsToJson(const ProxyLimits& limits) {
  json::Object out;
  out.Set("headBytes", limits.head_bytes).Set("headerCount", limits.header_count);
  out.Set("connections", limits.connections);
  out.Set("headMs", limits.head.count()).Set("idleMs", limits.idle.count());
  out.Set("resolveMs", limits.resolve.count()).Set("connectMs", limits.connect.count());
  out.Set("totalMs", limits.total.count());
  return out;
}

std::vector<Rule> ReadRules(json::Issues& issues, const json::Value& list,
                            const std::string& pointer) {
  std::vector<Rule> out;
  ForEachObject(issues, list, pointer, [&](json::ObjectReader& reader) {
    std::string id = reader.String("id");
    Rule::Effect effect = reader.Enum("effect", kEffects);
    auto pattern = HostPattern::Parse(reader.String("host"));
    auto port = OptionalPort(reader);
    TunnelGrants grants;
    for (const std::string& name :
         reader.OptionalStrings("grants").value_or(std::vector<std::string>{})) {
      bool known = false;
      for (const auto& entry : kGrants) {
        if (entry.name != name) continue;
        grants.Add(entry.value);
        known = true;
      }
      if (!known)
        issues.Add("object.enum", reader.PointerOf("grants"),
                   "must be raw-bytes, missing-sni or encrypted-hello");
    }
    if (!pattern) {
      issues.Add(pattern.error().code, reader.PointerOf("host"), pattern.error().message);
      return;
    }
    out.push_back(Rule{std::move(id), effect, std::move(*pattern), port, grants});
  });
  return out;
}

std::vector<AddressGrant> ReadAddressGrants(json::Issues& issues, const json::Value& list,
                                            const std::string& pointer) {
  std::vector<AddressGrant> out;
  ForEachObject(issues, list, pointer, [&](json::ObjectReader& reader) {
    std::string id = reader.String("id");
    auto range = Cidr::Parse(reader.String("range"));
    if (!range)
      issues.Add("egress.range", reader.PointerOf("range"),
                 "must be an address range without host bits");
    out.push_back({std::move(id), range.value_or(Cidr{})});
  });
  return out;
}

std::vector<ProtectedEndpoint> ReadEndpoints(json::Issues& issues, const json::Value& list,
                                             const std::string& pointer) {
  std::vector<ProtectedEndpoint> out;
  ForEachObject(issues, list, pointer, [&](json::ObjectReader& reader) {
    IpAddress address = ReadAddress(issues, reader.String("address"), reader.PointerOf("address"));
    out.push_back({address, OptionalPort(reader)});
  });
  return out;
}

std::vector<ResolverOverride> ReadOverrides(json::Issues& issues, const json::Value& list,
                                            const std::string& pointer) {
  std::vector<ResolverOverride> out;
  ForEachObject(issues, list, pointer, [&](json::ObjectReader& reader) {
    ResolverOverride entry;
    auto name = HostName::Normalise(reader.String("name"));
    if (!name || name->is_literal()) {
      issues.Add("egress.override", reader.PointerOf("name"), "must be a host name");
    } else {
      entry.name = name->text();
    }
    for (const std::string& text : reader.Strings("addresses"))
      entry.addresses.push_back(ReadAddress(issues, text, reader.PointerOf("addresses")));
    out.push_back(std::move(entry));
  });
  return out;
}

ProxyLimits ReadLimits(json::ObjectReader reader) {
  ProxyLimits limits;
  auto number = [&](const char* name, std::uint32_t fallback, std::int64_t min, std::int64_t max) {
    return static_cast<std::uint32_t>(reader.OptionalInteger(name, min, max).value_or(fallback));
  };
  auto duration = [&](const char* name, std::chrono::milliseconds fallback) {
    return std::chrono::milliseconds(
        reader.OptionalInteger(name, 1, 7 * 24 * 3600 * 1000LL).value_or(fallback.count()));
  };
  limits.head_bytes = number("headBytes", limits.head_bytes, 1024, 1 << 20);
  limits.header_count = number("headerCount", limits.header_count, 1, 10'000);
  limits.connections = number("connections", limits.connections, 1, 1'000'000);
  limits.head = duration("headMs", limits.head);
  limits.idle = duration("idleMs", limits.idle);
  limits.resolve = duration("resolveMs", limits.resolve);
  limits.connect = duration("connectMs", limits.connect);
  limits.total = duration("totalMs", limits.total);
  reader.RefuseUnknown();
  return limits;
}

RuleSet ReadRuleSet(json::ObjectReader reader) {
  RuleSet rules;
  json::Issues& issues = reader.issues();
  if (const json::Value* list = reader.Require("rules"))
    rules.rules = ReadRules(issues, *list, reader.PointerOf("rules"));
  if (const json::Value* list = reader.Require("addressGrants"))
    rules.address_grants = ReadAddressGrants(issues, *list, reader.PointerOf("addressGrants"));
  if (const json::Value* list = reader.Require("never"))
    rules.never = ReadEndpoints(issues, *list, reader.PointerOf("never"));
  rules.unmatched = reader.Enum("unmatched", kUnmatched);
  reader.RefuseUnknown();
  return rules;
}

}  // namespace writ::egress
