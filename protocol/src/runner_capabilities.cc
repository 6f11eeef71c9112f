#include "writ/protocol/runner_capabilities.h"

#include <algorithm>
#include <array>
#include <set>

namespace writ::protocol {
namespace {

constexpr std::size_t kMostTiers = 8;
constexpr std::size_t kMostWords = 64;
constexpr std::size_t kMostAgents = 64;
constexpr std::size_t kMostLimits = 32;

bool IsWord(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.' || c == ':';
  });
}

constexpr json::TextRule kWord{.min_bytes = 1,
                               .max_bytes = 64,
                               .pattern = IsWord,
                               .pattern_words = "a word of A-Z, a-z, 0-9, '-', '_', '.', ':'"};
constexpr json::TextRule kVersion{.max_bytes = 256};
constexpr json::TextRule kSentence{.max_bytes = kMaxCapabilityText};

constexpr std::array<std::string_view, 5> kAspects = {"files", "network", "syscalls", "resources",
                                                      "processes"};
enum class Level { kNone, kAdvisory, kKernel };
constexpr json::EnumName<Level> kLevelTable[] = {
    {Level::kNone, "none"}, {Level::kAdvisory, "advisory"}, {Level::kKernel, "kernel"}};

// As much of it as the other side takes, cut between two characters.
std::string Cut(std::string text) {
  text = json::ToWellFormedUtf8(text);
  if (text.size() <= kMaxCapabilityText) return text;
  std::size_t end = kMaxCapabilityText - 3;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  return text.substr(0, end) + "...";
}

void SetNumber(json::Object& out, std::string_view name, std::uint64_t value) {
  if (value != 0)
    out.Set(name,
            std::min<std::uint64_t>(value, static_cast<std::uint64_t>(json::kMaxSafeInteger)));
}

std::uint64_t ReadNumber(json::ObjectReader& reader, std::string_view name) {
  return static_cast<std::uint64_t>(reader.OptionalInteger(name).value_or(0));
}

json::Value TierJson(const TierReport& tier) {
  json::Object out{{"tier", Word(tier.tier)}, {"offered", tier.offered}};
  if (!tier.reason.empty()) out.Set("reason", Cut(tier.reason));
  if (!tier.mend.empty()) out.Set("mend", Cut(tier.mend));
  if (!tier.backend.empty()) out.Set("backend", tier.backend);
  if (!tier.version.empty()) out.Set("version", Cut(tier.version).substr(0, kVersion.max_bytes));
  if (tier.overlay) out.Set("overlay", true);
  json::Object enforcement;
  for (const auto& [aspect, level] : tier.enforcement) enforcement.Set(aspect, level);
  if (!enforcement.empty()) out.Set("enforcement", std::move(enforcement));
  json::Array limits;
  for (const LimitReport& limit : tier.limits) {
    json::Object item{{"limit", limit.limit}, {"holder", limit.holder}};
    if (!limit.contract) item.Set("contract", false);
    limits.push_back(std::move(item));
  }
  if (!limits.empty()) out.Set("limits", std::move(limits));
  return out;
}

TierReport ReadTier(json::ObjectReader& reader) {
  TierReport out;
  out.tier = reader.Enum("tier", kTierTable);
  out.offered = reader.Bool("offered");
  out.reason = reader.OptionalString("reason", kSentence).value_or("");
  out.mend = reader.OptionalString("mend", kSentence).value_or("");
  out.backend = reader.OptionalString("backend", kWord).value_or("");
  out.version = reader.OptionalString("version", kVersion).value_or("");
  out.overlay = reader.OptionalBool("overlay").value_or(false);
  if (auto enforcement = reader.OptionalChild("enforcement")) {
    for (const std::string_view aspect : kAspects)
      if (auto level = enforcement->OptionalEnum(aspect, kLevelTable))
        out.enforcement.emplace(aspect, WordIn(kLevelTable, *level));
  }
  if (!reader.Has("limits")) return out;
  reader.ForEachObject(
      "limits",
      [&](json::ObjectReader& item) {
        LimitReport limit;
        limit.limit = item.String("limit", kWord);
        limit.holder = item.String("holder", kWord);
        limit.contract = item.OptionalBool("contract").value_or(true);
        out.limits.push_back(std::move(limit));
      },
      kMostLimits);
  return out;
}

}  // namespace

Tier RaisedTo(Tier minimum, Tier asked) {
  return std::max(minimum, asked);
}

json::Value RunnerCapabilities::ToJson() const {
  json::Object isolation{{"default", Word(default_isolation)},
                         {"minimum", Word(minimum_isolation)}};
  json::Object known;
  for (const auto& [word, tier] : words) known.Set(word, Word(tier));
  if (!known.empty()) isolation.Set("words", std::move(known));
  json::Array tier_list;
  for (const TierReport& tier : tiers) tier_list.push_back(TierJson(tier));
  json::Array agent_list;
  for (const AgentReport& agent : agents) {
    json::Object item{{"kind", agent.kind}};
    item.SetOptional("version", agent.version);
    agent_list.push_back(std::move(item));
  }
  json::Object size;
  SetNumber(size, "cpuMillis", machine.cpu_millis);
  SetNumber(size, "memoryBytes", machine.memory_bytes);
  SetNumber(size, "diskBytes", machine.disk_bytes);
  json::Object bound;
  SetNumber(bound, "cpuMillis", most.cpu_millis);
  SetNumber(bound, "memoryBytes", most.memory_bytes);
  SetNumber(bound, "diskBytes", most.disk_bytes);
  SetNumber(bound, "cpuMs", most.cpu_ms);
  SetNumber(bound, "processes", most.processes);
  SetNumber(bound, "openFiles", most.open_files);
  SetNumber(bound, "timeoutMs", most.timeout_ms);
  SetNumber(bound, "logBytes", most.log_bytes);
  return json::Object{{"isolation", std::move(isolation)},
                      {"tiers", std::move(tier_list)},
                      {"agents", std::move(agent_list)},
                      {"machine", std::move(size)},
                      {"most", std::move(bound)}};
}

RunnerCapabilities RunnerCapabilities::Read(json::ObjectReader reader) {
  RunnerCapabilities out;
  json::Issues& issues = reader.issues();
  json::ObjectReader isolation = reader.Child("isolation");
  out.default_isolation = isolation.Enum("default", kTierTable);
  out.minimum_isolation = isolation.Enum("minimum", kTierTable);
  if (isolation.Has("words"))
    isolation.ForEachMember("words", [&](const std::string& word, const json::Value& value,
                                         const std::string& pointer) {
      const std::string* text = value.if_string();
      const std::optional<Tier> tier = text != nullptr ? ParseTier(*text) : std::nullopt;
      if (!tier || word.empty() || word.size() > kWord.max_bytes || !IsWord(word) ||
          out.words.size() >= kMostWords)
        return issues.Add("object.enum", pointer, "must be a word and one of our tiers");
      out.words.emplace(word, *tier);
    });
  reader.ForEachObject(
      "tiers",
      [&](json::ObjectReader& item) {
        TierReport tier = ReadTier(item);
        if (out.Find(tier.tier) != nullptr)
          issues.Add("capabilities.twice", item.PointerOf("tier"), "is listed twice");
        out.tiers.push_back(std::move(tier));
      },
      kMostTiers);
  std::set<std::string> kinds;
  reader.ForEachObject(
      "agents",
      [&](json::ObjectReader& item) {
        AgentReport agent{item.As<AgentKind>("kind"), item.OptionalString("version", kVersion)};
        if (!kinds.insert(agent.kind.text()).second)
          issues.Add("capabilities.twice", item.PointerOf("kind"), "is listed twice");
        out.agents.push_back(std::move(agent));
      },
      kMostAgents);
  if (auto size = reader.OptionalChild("machine")) {
    out.machine.cpu_millis = ReadNumber(*size, "cpuMillis");
    out.machine.memory_bytes = ReadNumber(*size, "memoryBytes");
    out.machine.disk_bytes = ReadNumber(*size, "diskBytes");
  }
  if (auto bound = reader.OptionalChild("most")) {
    out.most.cpu_millis = ReadNumber(*bound, "cpuMillis");
    out.most.memory_bytes = ReadNumber(*bound, "memoryBytes");
    out.most.disk_bytes = ReadNumber(*bound, "diskBytes");
    out.most.cpu_ms = ReadNumber(*bound, "cpuMs");
    out.most.processes = ReadNumber(*bound, "processes");
    out.most.open_files = ReadNumber(*bound, "openFiles");
    out.most.timeout_ms = ReadNumber(*bound, "timeoutMs");
    out.most.log_bytes = ReadNumber(*bound, "logBytes");
  }
  return out;
}

Result<RunnerCapabilities> RunnerCapabilities::Parse(const json::Value& value) {
  json::Issues issues;
  RunnerCapabilities out = Read(json::ObjectReader(issues, value));
  WRIT_TRY(issues.ToStatus("the runner's capabilities"));
  return out;
}

const TierReport* RunnerCapabilities::Find(Tier tier) const {
  const auto at = std::find_if(tiers.begin(), tiers.end(),
                               [&](const TierReport& each) { return each.tier == tier; });
  return at == tiers.end() ? nullptr : &*at;
}

std::optional<Tier> RunnerCapabilities::TierFor(const std::optional<std::string>& isolation) const {
  if (!isolation) return RaisedTo(minimum_isolation, default_isolation);
  if (auto tier = ParseTier(*isolation)) return RaisedTo(minimum_isolation, *tier);
  const auto mapped = words.find(*isolation);
  if (mapped == words.end()) return std::nullopt;
  return RaisedTo(minimum_isolation, mapped->second);
}

}  // namespace writ::protocol
