// ProxyConfig: everything a proxy process is told at its start, as one JSON document.
//
// It crosses to the process in a sealed memory file, never on a command line or disk, because it
// holds the session token (L8). Nothing of the runner's keys is in it.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "writ/base/result.h"
#include "writ/base/secret.h"
#include "writ/egress/rules.h"

namespace writ::egress {

// Time-outs are per step; `total` bounds one HTTP exchange, not a tunnel (L19).
struct ProxyLimits {
  std::uint32_t head_bytes = 64 * 1024;
  std::uint32_t header_count = 128;
  std::uint32_t connections = 4096;        // lowered to what the descriptor limit carries
  std::chrono::milliseconds head{10'000};  // from the first byte of a request to its last head byte
  std::chrono::milliseconds idle{300'000};  // no byte either way
  std::chrono::milliseconds resolve{10'000};
  std::chrono::milliseconds connect{10'000};  // over all addresses of a name
  std::chrono::milliseconds total{3'600'000};
};

// The operator's own answer for a name, in place of the resolver's. The addresses are checked like
// any other (L22); each override in force is named in the closing report.
struct ResolverOverride {
  std::string name;
  std::vector<IpAddress> addresses;
};

struct ProxyConfig {
  RuleSet rules;  // already narrowed (see Narrow)
  std::vector<ResolverOverride> resolver_overrides;
  // Asked for on listeners of ListenerReach::kShared. May be empty when there is no such listener.
  Secret token;
  // On shared listeners, connections whose socket belongs to another uid are refused (kernel
  // sock_diag lookup of the peer's socket; about ten microseconds a connection).
  std::optional<uid_t> allowed_uid;
  ProxyLimits limits;

  ProxyConfig Clone() const;
};

std::string SerializeConfig(const ProxyConfig& config);  // holds the token: wipe it after use
Result<ProxyConfig> ParseConfig(std::string_view json);

// 32 random bytes in base64url: the session token.
Secret NewSessionToken();
// "http://writ:TOKEN@127.0.0.1:PORT" for the job's proxy variables; without a token
// "http://127.0.0.1:PORT". A Secret, because it holds one.
Secret ProxyUrl(const Secret& token, std::uint16_t port);

}  // namespace writ::egress
