// Rules as JSON: in the document that a proxy process is given, and in an operator's configuration.
//
//   rule     {"id": "npm", "effect": "allow"|"deny", "host": "*.npmjs.org", "port"?: 443,
//             "grants"?: ["raw-bytes", "missing-sni", "encrypted-hello"]}
//   grant    {"id": "lab", "range": "10.1.0.0/16"}
//   endpoint {"address": "192.0.2.1", "port"?: 8443}
//   override {"name": "git.example.com", "addresses": ["10.1.2.3"]}
//   limits   {"headMs"?, "idleMs"?, ...}; absent members keep their defaults
// Unknown members are refused with their pointer (L3).
#pragma once

#include <string>
#include <vector>

#include "writ/base/result.h"
#include "writ/egress/proxy_config.h"
#include "writ/egress/rules.h"
#include "writ/protocol/json.h"
#include "writ/protocol/reader.h"

namespace writ::egress {

json::Value RuleToJson(const Rule& rule);
json::Value RuleSetToJson(const RuleSet& rules);
json::Value OverrideToJson(const ResolverOverride& override_entry);
json::Value LimitsToJson(const ProxyLimits& limits);

// `list`: an array. Issues go to `issues` with pointers under `pointer`; what is returned is used
// only where there are none.
std::vector<Rule> ReadRules(json::Issues& issues, const json::Value& list,
                            const std::string& pointer);
std::vector<AddressGrant> ReadAddressGrants(json::Issues& issues, const json::Value& list,
                                            const std::string& pointer);
std::vector<ProtectedEndpoint> ReadEndpoints(json::Issues& issues, const json::Value& list,
                                             const std::string& pointer);
std::vector<ResolverOverride> ReadOverrides(json::Issues& issues, const json::Value& list,
                                            const std::string& pointer);
ProxyLimits ReadLimits(json::ObjectReader reader);
RuleSet ReadRuleSet(json::ObjectReader reader);

}  // namespace writ::egress
