#include "writ/egress/proxy_config.h"

#include <limits>
#include <utility>

#include "writ/base/encoding.h"
#include "writ/egress/rules_json.h"
#include "writ/protocol/json.h"
#include "writ/protocol/reader.h"

namespace writ::egress {

ProxyConfig ProxyConfig::Clone() const {
  ProxyConfig copy;
  copy.rules = rules;
  copy.resolver_overrides = resolver_overrides;
  copy.token = token.Clone();
  copy.allowed_uid = allowed_uid;
  copy.limits = limits;
  return copy;
}

std::string SerializeConfig(const ProxyConfig& config) {
  json::Object out;
  out.Set("version", "writ.egress.config.v1");
  out.Set("policy", RuleSetToJson(config.rules));
  json::Array overrides;
  for (const ResolverOverride& entry : config.resolver_overrides)
    overrides.push_back(OverrideToJson(entry));
  out.Set("resolverOverrides", std::move(overrides));
  if (!config.token.empty()) out.Set("token", config.token.Reveal());
  if (config.allowed_uid) out.Set("allowedUid", *config.allowed_uid);
  out.Set("limits", LimitsToJson(config.limits));
  return json::Write(json::Value(std::move(out)));
}

Result<ProxyConfig> ParseConfig(std::string_view text) {
  WRIT_ASSIGN(json::Value document, json::Parse(text));
  json::Issues issues;
  json::ObjectReader reader(issues, document);
  reader.Literal("version", "writ.egress.config.v1");
  ProxyConfig config;
  config.rules = ReadRuleSet(reader.Child("policy"));
  if (const json::Value* list = reader.Require("resolverOverrides"))
    config.resolver_overrides = ReadOverrides(issues, *list, reader.PointerOf("resolverOverrides"));
  json::TextRule token_rule;
  token_rule.min_bytes = 16;
  token_rule.max_bytes = 256;
  if (auto token = reader.OptionalString("token", token_rule))
    config.token = Secret::Consume(*token);
  if (auto uid = reader.OptionalInteger("allowedUid", 0, std::numeric_limits<uid_t>::max() - 1))
    config.allowed_uid = static_cast<uid_t>(*uid);
  config.limits = ReadLimits(reader.Child("limits"));
  reader.RefuseUnknown();
  WRIT_TRY(issues.ToStatus("the proxy's configuration"));
  WRIT_TRY(Validate(config.rules));
  return config;
}

Secret NewSessionToken() {
  std::string bytes = RandomBytes(32);
  std::string text = Base64UrlEncode(bytes);
  explicit_bzero(bytes.data(), bytes.size());
  return Secret::Consume(text);
}

Secret ProxyUrl(const Secret& token, std::uint16_t port) {
  std::string url = "http://";
  if (!token.empty()) url.append("writ:").append(token.Reveal()).append("@");
  url.append("127.0.0.1:").append(std::to_string(port));
  return Secret::Consume(url);
}

}  // namespace writ::egress
