#include "writ/plane/config.h"

#include <algorithm>

#include "writ/base/log.h"
#include "writ/protocol/json.h"
#include "writ/protocol/reader.h"

namespace writ::plane {
namespace {

using json::EnumName;

constexpr EnumName<BlobReads> kBlobReadsTable[] = {
    {BlobReads::kTokenOffLoopback, "token-off-loopback"},
    {BlobReads::kTokenAlways, "token"},
    {BlobReads::kFree, "free"},
};
constexpr EnumName<OpenNetwork> kOpenNetworkTable[] = {
    {OpenNetwork::kRefused, "refused"},
    {OpenNetwork::kGranted, "granted"},
};

// A member that is an object {perMinute, burst}, or the word "unlimited".
void ReadRate(json::ObjectReader& limits, std::string_view name, std::optional<RateLimit>& out) {
  const json::Value* value = limits.Find(name);
  if (value == nullptr) return;
  if (const std::string* word = value->if_string(); word != nullptr && *word == "unlimited") {
    out.reset();
    return;
  }
  json::ObjectReader reader(limits.issues(), *value, limits.PointerOf(name));
  RateLimit rate;
  rate.per_minute = static_cast<std::uint32_t>(reader.Integer("perMinute", 1, 60'000'000));
  rate.burst = static_cast<std::uint32_t>(reader.Integer("burst", 1, 1'000'000));
  reader.RefuseUnknown();
  out = rate;
}

template <typename T>
void ReadNumber(json::ObjectReader& reader, std::string_view name, std::int64_t min,
                std::int64_t max, T& out) {
  if (auto value = reader.OptionalInteger(name, min, max)) out = static_cast<T>(*value);
}

// A whole number that is brought into the bounds (L42): a lease shorter than a renewal takes or a
// grace of a year would only break runs.
std::int64_t Clamped(json::ObjectReader& reader, std::string_view name, std::int64_t min,
                     std::int64_t max, std::int64_t fallback) {
  const std::int64_t wanted = reader.OptionalInteger(name).value_or(fallback);
  const std::int64_t taken = std::clamp(wanted, min, max);
  if (taken != wanted) {
    log::Warn("plane.config_clamped", "a value of config.json was brought into its bounds",
              {{"member", reader.PointerOf(name)}, {"wanted", wanted}, {"taken", taken}});
  }
  return taken;
}

LeaseTerms ReadLease(json::ObjectReader& reader, const LeaseTerms& defaults) {
  using std::chrono::seconds;
  auto whole = [](std::chrono::milliseconds d) { return d.count() / 1000; };
  LeaseTerms out;
  out.lease = seconds(Clamped(reader, "seconds", 10, 3600, whole(defaults.lease)));
  out.grace = seconds(Clamped(reader, "graceSeconds", 0, 7 * 86400, whole(defaults.grace)));
  out.offer = seconds(Clamped(reader, "offerSeconds", 2, 300, whole(defaults.offer)));
  out.max_attempts =
      static_cast<std::uint32_t>(Clamped(reader, "maxAttempts", 1, 20, defaults.max_attempts));
  reader.RefuseUnknown();
  return out;
}

}  // namespace

Result<Config> ParseConfig(std::string_view bytes) {
  auto parsed = json::Parse(bytes, {.max_depth = 16, .max_bytes = 1u << 20});
  if (!parsed) return std::move(parsed).error().With("reading config.json");
  Config config;
  json::Issues issues;
  json::ObjectReader root(issues, *parsed);
  root.Literal("version", "writ.config.v1");
  if (auto plane = root.OptionalChild("plane")) {
    if (auto limits = plane->OptionalChild("limits")) {
      ReadRate(*limits, "perPrincipal", config.per_principal);
      ReadRate(*limits, "perAgent", config.per_agent);
      ReadRate(*limits, "perPool", config.per_pool);
      ReadNumber(*limits, "maxBlobBytes", 1, 1ll << 40, config.max_blob_bytes);
      ReadNumber(*limits, "maxJsonBytes", 1024, 256ll << 20, config.max_json_bytes);
      ReadNumber(*limits, "maxLogBytes", 0, 4ll << 30, config.max_log_bytes);
      ReadNumber(*limits, "maxHeadBytes", 1024, 1 << 20, config.max_head_bytes);
      ReadNumber(*limits, "maxHeaders", 8, 1000, config.max_headers);
      ReadNumber(*limits, "maxConnections", 1, 100'000, config.max_connections);
      ReadNumber(*limits, "maxConnectionsPerAddress", 1, 100'000,
                 config.max_connections_per_address);
      ReadNumber(*limits, "maxConnectionsOnLoopback", 1, 100'000,
                 config.max_connections_on_loopback);
      limits->RefuseUnknown();
    }
    if (auto word = plane->OptionalEnum("blobReads", kBlobReadsTable)) config.blob_reads = *word;
    if (auto word = plane->OptionalEnum("openNetwork", kOpenNetworkTable))
      config.open_network = *word;
    std::int64_t seconds = config.contract_lifetime.count();
    ReadNumber(*plane, "contractLifetimeSeconds", 60, 30ll * 86400, seconds);
    config.contract_lifetime = std::chrono::seconds(seconds);
    seconds = config.approval_timeout.count();
    ReadNumber(*plane, "approvalTimeoutSeconds", 60, 365ll * 86400, seconds);
    config.approval_timeout = std::chrono::seconds(seconds);
    if (auto lease = plane->OptionalChild("lease")) config.lease = ReadLease(*lease, config.lease);
    plane->RefuseUnknown();
  }
  (void)root.Find("serve");  // of `writ plane start`
  root.RefuseUnknown();
  WRIT_TRY(issues.ToStatus("config.json"));
  return config;
}

std::string ConfigJson(const Config& config) {
  auto rate = [](const std::optional<RateLimit>& limit) {
    if (!limit) return json::Value("unlimited");
    return json::Value(json::Object{{"perMinute", limit->per_minute}, {"burst", limit->burst}});
  };
  auto word = [](const auto& table, auto value) {
    for (const auto& entry : table)
      if (entry.value == value) return json::Value(std::string(entry.name));
    return json::Value();
  };
  auto seconds = [](std::chrono::milliseconds d) { return d.count() / 1000; };
  json::Object limits{{"perPrincipal", rate(config.per_principal)},
                      {"perAgent", rate(config.per_agent)},
                      {"perPool", rate(config.per_pool)},
                      {"maxBlobBytes", config.max_blob_bytes},
                      {"maxJsonBytes", config.max_json_bytes},
                      {"maxLogBytes", config.max_log_bytes},
                      {"maxHeadBytes", config.max_head_bytes},
                      {"maxHeaders", config.max_headers},
                      {"maxConnections", config.max_connections},
                      {"maxConnectionsPerAddress", config.max_connections_per_address},
                      {"maxConnectionsOnLoopback", config.max_connections_on_loopback}};
  json::Object plane{{"limits", limits},
                     {"blobReads", word(kBlobReadsTable, config.blob_reads)},
                     {"openNetwork", word(kOpenNetworkTable, config.open_network)},
                     {"contractLifetimeSeconds", config.contract_lifetime.count()},
                     {"approvalTimeoutSeconds", config.approval_timeout.count()},
                     {"lease", json::Object{{"seconds", seconds(config.lease.lease)},
                                            {"graceSeconds", seconds(config.lease.grace)},
                                            {"offerSeconds", seconds(config.lease.offer)},
                                            {"maxAttempts", config.lease.max_attempts}}}};
  return json::WritePretty(json::Object{{"version", "writ.config.v1"}, {"plane", plane}}) + "\n";
}

std::string DefaultConfig() {
  auto rate = [](const std::optional<RateLimit>& limit) {
    return json::Value(json::Object{{"perMinute", limit->per_minute}, {"burst", limit->burst}});
  };
  const Config config;
  json::Object limits{
      {"perPrincipal", rate(config.per_principal)}, {"perAgent", rate(config.per_agent)},
      {"perPool", rate(config.per_pool)},           {"maxBlobBytes", config.max_blob_bytes},
      {"maxJsonBytes", config.max_json_bytes},      {"maxLogBytes", config.max_log_bytes}};
  json::Object plane{
      {"limits", limits}, {"blobReads", "token-off-loopback"}, {"openNetwork", "refused"}};
  return json::WritePretty(json::Object{{"version", "writ.config.v1"}, {"plane", plane}}) + "\n";
}

}  // namespace writ::plane
