// The messages between the runner's handle and the proxy process: one JSON object per
// SOCK_SEQPACKET datagram, `type` first, descriptors beside it by SCM_RIGHTS.
//
//   runner -> proxy   configure          + sealed memory file with the ProxyConfig; once, first
//                     listener {id,reach} + a listening socket; any time
//                     stop               end all flows, report, leave
//   proxy -> runner   ready | failed {code,message}          the answer to configure
//                     listening {id} | listener-refused {id,code,message}
//                     decision, flow, refusal                numbered events
//                     counters                               a snapshot, now and then
//                     closed {counters, resolverOverrides}   the last message
// `rules` (a new rule set by descriptor, with a generation number) is set aside for replacement
// while traffic flows. Each side refuses what it does not know: both are of one build.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "writ/base/result.h"
#include "writ/egress/proxy_event.h"
#include "writ/egress/proxy_process.h"

namespace writ::egress {

inline constexpr std::size_t kMaxControlMessage = 64 * 1024;
// The descriptor at which the proxy process finds its end of the pair.
inline constexpr int kControlFd = 3;

struct ConfigureMessage {};
struct ListenerMessage {
  std::uint64_t id = 0;
  ListenerReach reach = ListenerReach::kShared;
};
struct StopMessage {};
using RunnerMessage = std::variant<ConfigureMessage, ListenerMessage, StopMessage>;

struct ReadyMessage {};
struct FailedMessage {
  std::string code;
  std::string message;
};
struct ListeningMessage {
  std::uint64_t id = 0;
};
struct ListenerRefusedMessage {
  std::uint64_t id = 0;
  std::string code;
  std::string message;
};
struct CountersMessage {
  Counters counters;
};
struct ClosedMessage {
  Counters counters;
  std::vector<std::string> resolver_overrides;
};
using ProxyMessage =
    std::variant<ReadyMessage, FailedMessage, ListeningMessage, ListenerRefusedMessage,
                 DecisionEvent, FlowEvent, RefusalEvent, CountersMessage, ClosedMessage>;

std::string Encode(const RunnerMessage& message);
std::string Encode(const ProxyMessage& message);
// Errors: kInvalid, "egress.control_message" or the JSON reader's own code.
Result<RunnerMessage> DecodeRunnerMessage(std::string_view bytes);
Result<ProxyMessage> DecodeProxyMessage(std::string_view bytes);

}  // namespace writ::egress
