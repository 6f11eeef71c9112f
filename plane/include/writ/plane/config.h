// The plane's configuration: the "plane" member of DIR/config.json (writ.config.v1). Beside it only
// "serve" may stand, which is how `writ plane start` listens and is read there; any other key is
// refused, and so is an unknown one inside "plane".
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "writ/base/result.h"

namespace writ::plane {

// At most `burst` at once, refilled at `per_minute`. nullopt where there is no limit.
struct RateLimit {
  std::uint32_t per_minute = 0;
  std::uint32_t burst = 0;
};

enum class BlobReads {
  kTokenOffLoopback,  // default: free for clients on loopback, a token for all others
  kTokenAlways,
  kFree,  // for older peers: the hash is the capability
};

enum class OpenNetwork {
  kRefused,
  kGranted,  // the operator lets contracts ask for defaultDeny:false where the policy has it too
};

// How long a claim lives without a word from its runner. A configuration file's values are clamped
// to what makes sense (config.cc).
struct LeaseTerms {
  std::chrono::milliseconds lease{60'000};
  std::chrono::milliseconds grace{
      600'000};  // after the lease's end, before the plane closes the run
  std::chrono::milliseconds offer{10'000};  // until an offer must be acknowledged
  std::uint32_t max_attempts = 3;           // of an idempotent job, the first one included
};

struct Config {
  // Run requests.
  std::optional<RateLimit> per_principal = RateLimit{600, 200};
  std::optional<RateLimit> per_agent = RateLimit{1200, 400};
  std::optional<RateLimit> per_pool = RateLimit{1200, 400};
  BlobReads blob_reads = BlobReads::kTokenOffLoopback;
  OpenNetwork open_network = OpenNetwork::kRefused;
  std::uint64_t max_blob_bytes = 4ull << 30;
  std::uint64_t max_json_bytes = 16ull << 20;
  std::uint64_t max_log_bytes = 16ull << 20;  // live output kept per run
  std::uint32_t max_head_bytes = 32u << 10;
  std::uint32_t max_headers = 64;
  std::uint32_t max_connections = 256;
  // Of them by one peer: an IPv4 address, an IPv6 /64. Runners behind one address share it.
  std::uint32_t max_connections_per_address = 128;
  std::uint32_t max_connections_on_loopback = 224;  // the same, for each loopback address
  std::chrono::seconds contract_lifetime{3600};
  std::chrono::seconds approval_timeout{7 * 24 * 3600};
  LeaseTerms lease;
};

// Parses a whole config.json.
Result<Config> ParseConfig(std::string_view bytes);
// What ParseConfig reads back, every member in it.
std::string ConfigJson(const Config& config);
// The config.json that Init writes.
std::string DefaultConfig();

}  // namespace writ::plane
