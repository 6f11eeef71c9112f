#include "policy_explain.h"

#include <algorithm>
#include <utility>

#include "context.h"
#include "writ/runner/session_rules.h"

namespace writ::cli {
namespace {

constexpr std::uint16_t kPlainPort = 80;
constexpr std::uint16_t kTlsPort = 443;

// The first entry that covers the host, by its place.
std::optional<std::size_t> Covering(const std::vector<std::string>& patterns,
                                    const egress::HostName& host) {
  for (std::size_t i = 0; i < patterns.size(); ++i) {
    auto pattern = egress::HostPattern::Parse(patterns[i]);
    if (pattern && pattern->Matches(host)) return i;
  }
  return std::nullopt;
}

PolicyVoice Speak(std::string source, const std::vector<std::string>& patterns,
                  const std::string& pointer, const egress::HostName& host) {
  PolicyVoice voice{std::move(source), false, "", "no entry of its allowHosts covers the host"};
  if (auto at = Covering(patterns, host)) {
    voice.allows = true;
    voice.place = pointer + "/" + std::to_string(*at);
    voice.words = patterns[*at];
  }
  return voice;
}

PolicyVoice PolicySpeaks(const std::optional<protocol::Policy>& policy,
                         const egress::HostName& host) {
  if (!policy) return {"policy", true, "", "none is known here: the plane's own decides"};
  if (!policy->network.default_deny)
    return {"policy", true, "/network/defaultDeny", "it allows hosts that it does not name"};
  std::vector<std::string> patterns;
  for (const protocol::AllowedHost& each : policy->network.allow_hosts)
    patterns.push_back(each.text());
  return Speak("policy", patterns, "/network/allowHosts", host);
}

PolicyVoice ContractSpeaks(const PolicyQuestion& question, const egress::HostName& host) {
  if (question.contract_hosts.empty())
    return {"contract", true, "", "as if it named the host itself"};
  return Speak("contract", question.contract_hosts, "/network/allowHosts", host);
}

PolicyVoice OperatorSpeaks(const runner::RunnerConfig& config, const egress::HostName& host,
                           std::uint16_t port) {
  if (!config.allow_hosts)
    return {"operator", true, "", "runner.json has no allowHosts: contracts are not narrowed"};
  std::string other_ports;
  for (std::size_t i = 0; i < config.allow_hosts->size(); ++i) {
    const std::string& text = (*config.allow_hosts)[i];
    auto entry = runner::ParseOperatorHost(text);
    if (!entry || !entry->host.Matches(host)) continue;
    const bool fits = entry->port ? *entry->port == port : port == kPlainPort || port == kTlsPort;
    if (fits) return {"operator", true, "/allowHosts/" + std::to_string(i), text};
    other_ports += (other_ports.empty() ? "" : ", ") + text;
  }
  return {"operator", false, "",
          other_ports.empty() ? "no entry of its allowHosts covers the host"
                              : "its allowHosts cover the host on other ports: " + other_ports};
}

std::string MendOf(const PolicyExplanation& explanation) {
  for (const PolicyVoice& voice : explanation.voices) {
    if (voice.allows) continue;
    if (voice.source == "policy") return "add it to network.allowHosts of policy.json";
    if (voice.source == "contract") return "ask for it: --allow-host " + explanation.host;
    return "add " + explanation.host + ":" + std::to_string(explanation.port) +
           " to allowHosts of runner.json";
  }
  switch (explanation.decision.reason) {
    case egress::Reason::kPort:
      return "a contract names hosts without ports; the operator's allowHosts can name one: " +
             explanation.host + ":" + std::to_string(explanation.port);
    case egress::Reason::kAddressClass:
      return "the operator grants ranges in addressGrants of runner.json";
    default:
      return "";
  }
}

}  // namespace

Result<PolicyExplanation> ExplainPolicy(const PolicyQuestion& question,
                                        const std::optional<protocol::Policy>& policy,
                                        const runner::RunnerConfig& config) {
  WRIT_ASSIGN(const egress::HostName host, egress::HostName::Normalise(question.host));
  std::vector<egress::IpAddress> addresses;
  for (const std::string& text : question.addresses) {
    const auto address = egress::IpAddress::Parse(text);
    if (!address)
      return Error{ErrorKind::kInvalid, "policy.address", text + " is no address",
                   "write it like 192.0.2.7 or 2001:db8::7"};
    addresses.push_back(*address);
  }
  PolicyExplanation out;
  out.host = host.ForAuthority();
  out.port = question.port.value_or(kTlsPort);
  std::vector<std::string> contract = question.contract_hosts;
  if (contract.empty()) contract.push_back(out.host);
  WRIT_ASSIGN(const egress::RuleSet rules, runner::SessionRules(contract, {}, config));
  const egress::Target target{
      out.port == kPlainPort ? egress::Protocol::kHttp : egress::Protocol::kConnect, host,
      out.port};
  out.decision = egress::DecideHost(rules, target);
  if (host.is_literal()) addresses = {*host.literal()};
  if (!addresses.empty())
    out.decision = egress::DecideAddresses(rules, out.decision, target, addresses);
  out.voices = {PolicySpeaks(policy, host), ContractSpeaks(question, host),
                OperatorSpeaks(config, host, out.port)};
  out.allowed = out.voices.front().allows && out.decision.allowed;
  if (!out.allowed) out.mend = MendOf(out);
  return out;
}

json::Value PolicyExplanationJson(const PolicyExplanation& explanation) {
  json::Array voices;
  for (const PolicyVoice& voice : explanation.voices) {
    json::Object item{{"source", voice.source},
                      {"allows", voice.allows},
                      {"words", json::ToWellFormedUtf8(voice.words)}};
    if (!voice.place.empty()) item.Set("pointer", voice.place);
    voices.push_back(std::move(item));
  }
  json::Object out{{"host", explanation.host},
                   {"port", std::int64_t{explanation.port}},
                   {"allowed", explanation.allowed},
                   {"voices", std::move(voices)},
                   {"rule", explanation.decision.rule_id},
                   {"reason", std::string(egress::ReasonName(explanation.decision.reason))}};
  if (!explanation.decision.detail.empty()) out.Set("detail", explanation.decision.detail);
  if (!explanation.mend.empty()) out.Set("hint", explanation.mend);
  return out;
}

std::string RenderPolicyExplanation(const PolicyExplanation& explanation) {
  std::string out = explanation.host + ", port " + std::to_string(explanation.port) + ": " +
                    (explanation.allowed ? "allowed" : "refused") + "\n";
  for (const PolicyVoice& voice : explanation.voices) {
    std::string source = voice.source;
    source.resize(8, ' ');
    out += "  " + source + "  " + (voice.allows ? "allows   " : "refuses  ") +
           TerminalSafe(voice.place.empty() ? voice.words : voice.place + "  " + voice.words) +
           "\n";
  }
  if (explanation.voices.front().allows) {
    out += "  proxy     " + std::string(explanation.decision.allowed ? "allows   " : "refuses  ") +
           std::string(egress::ReasonName(explanation.decision.reason)) + ", rule " +
           explanation.decision.rule_id;
    if (!explanation.decision.detail.empty())
      out += ", " + TerminalSafe(explanation.decision.detail);
    out += "\n";
  }
  if (!explanation.mend.empty()) out += "hint: " + TerminalSafe(explanation.mend) + "\n";
  return out;
}

json::Array FindingsJson(const std::vector<egress::HostFinding>& findings,
                         const std::string& pointer) {
  json::Array out;
  for (const egress::HostFinding& finding : findings)
    out.push_back(json::Object{{"pointer", pointer + "/" + std::to_string(finding.index)},
                               {"code", finding.code},
                               {"message", finding.message},
                               {"hint", finding.hint}});
  return out;
}

}  // namespace writ::cli
