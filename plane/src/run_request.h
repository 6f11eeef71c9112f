// RunRequest: the body of POST /v1/runs as a strict type (protocol.md section 4, L3). Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "writ/protocol/contract.h"

namespace writ::plane {

enum class RunMode { kReal, kDryRun };

struct RunRequest {
  std::optional<protocol::Actor> requested_by;  // absent: whoever sends the request
  protocol::AgentSpec agent;
  std::vector<protocol::SecretName> secrets;  // distinct
  protocol::NetworkSpec network;
  protocol::Budget budget;
  protocol::Disclosure disclosure = protocol::Disclosure::kMinimalContext;
  protocol::Manifest workspace;
  protocol::PoolName pool;
  std::string prompt;
  std::optional<protocol::Execution> execution;
  std::optional<std::string> isolation;
  std::optional<protocol::TraceContext> trace;
  std::optional<protocol::Continuation> continuation;  // of the checkpoint tier that is ours

  // The time after which the runner ends it: the smaller of timeoutMs and maxDurationMin, else 10
  // min.
  std::chrono::milliseconds Timeout() const;
  // Every agent kind whose permission the run needs: its own, and "command" where it runs a
  // program.
  std::vector<std::string> AgentKinds() const;
};

struct RequestIssue {
  std::string pointer;  // JSON pointer: "/request/prompt"
  std::string text;     // "request.prompt: sentence"
};

struct ParsedRunRequest {
  RunRequest request;
  RunMode mode = RunMode::kReal;
  json::Value raw;                   // the request member as it came
  std::vector<RequestIssue> issues;  // not empty: nothing else here may be used
};

// kInvalid only where the text is not JSON at all ("request.not_json").
Result<ParsedRunRequest> ParseRunRequest(std::string_view body, std::size_t max_bytes);

// A kInvalid error for bytes that are not JSON, in the words of the recorded peer.
Error NotJson(const Error& cause);

}  // namespace writ::plane
