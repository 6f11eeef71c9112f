// Names and ids of the protocol as strong types, each with its allow-list pattern (protocol.md
// section 2, L3).
//
// A default-constructed one is empty and means "not set"; every other came through Parse. Errors
// are kInvalid with the type's code; the refused text is never repeated in the message.
#pragma once

#include <compare>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include "writ/base/result.h"
#include "writ/protocol/json.h"

namespace writ::protocol {

template <typename Rule>
class Name {
 public:
  Name() = default;
  static Result<Name> Parse(std::string_view text) {
    if (!Rule::Accepts(text)) {
      return Error{.kind = ErrorKind::kInvalid,
                   .code = std::string(Rule::kCode),
                   .message = "must be " + std::string(Rule::kWords)};
    }
    Name name;
    name.text_ = text;
    return name;
  }
  const std::string& text() const { return text_; }
  bool empty() const { return text_.empty(); }
  operator json::Value() const { return json::Value(text_); }  // NOLINT: implicit by design
  auto operator<=>(const Name&) const = default;

 private:
  std::string text_;
};

// A run's id; also a directory's name, so it never starts with a dot.
struct RunIdRule {
  static constexpr std::string_view kCode = "name.run_id",
                                    kWords = "a run id ([A-Za-z0-9][A-Za-z0-9_.-]{0,127})";
  static bool Accepts(std::string_view text);
};
struct RunnerIdRule {
  static constexpr std::string_view kCode = "name.runner_id",
                                    kWords = "a runner id ([A-Za-z0-9][A-Za-z0-9_.-]{0,127})";
  static bool Accepts(std::string_view text);
};
struct PoolRule {
  static constexpr std::string_view kCode = "name.pool",
                                    kWords = "a pool name ([A-Za-z0-9_.:-]{1,128})";
  static bool Accepts(std::string_view text);
};
struct SecretRule {
  static constexpr std::string_view
      kCode = "name.secret",
      kWords = "a secret name ([A-Za-z_][A-Za-z0-9_]*, at most 256 characters)";
  static bool Accepts(std::string_view text);
};
// An environment variable's name: the same letters as a secret's.
struct EnvRule {
  static constexpr std::string_view
      kCode = "name.env",
      kWords = "a variable name ([A-Za-z_][A-Za-z0-9_]*, at most 256 characters)";
  static bool Accepts(std::string_view text);
};
// A bare lower-case host name: letters, digits, hyphens and dots; no scheme, port, path or user,
// and no numeric address in any spelling (the last label is not a number).
struct HostRule {
  static constexpr std::string_view
      kCode = "name.host",
      kWords = "a bare lower-case host name (no scheme, port, path, user or address)";
  static bool Accepts(std::string_view text);
};
// What an allow-list of a contract or policy holds: a host name, or "*." and a host name.
struct AllowedHostRule {
  static constexpr std::string_view kCode = "name.host",
                                    kWords = "a bare lower-case host name, or \"*.\" and one";
  static bool Accepts(std::string_view text);
};
// Relative, UTF-8, no empty, "." or ".." component, no "\", NUL, control character or drive letter.
struct WorkspacePathRule {
  static constexpr std::string_view
      kCode = "name.workspace_path",
      kWords = "a relative path without \"..\", \"//\", \"\\\", NUL or drive letter";
  static bool Accepts(std::string_view text);
};
// An execution's directory: a workspace path, or "." for its root.
struct WorkspaceDirRule {
  static constexpr std::string_view kCode = "name.workspace_dir",
                                    kWords = "\".\" or a relative path within the workspace";
  static bool Accepts(std::string_view text);
};
struct AgentKindRule {
  static constexpr std::string_view kCode = "name.agent",
                                    kWords = "an agent kind ([a-z0-9][a-z0-9-]{0,63})";
  static bool Accepts(std::string_view text);
};
struct KeyIdRule {
  static constexpr std::string_view kCode = "name.key_id",
                                    kWords = "a key id (ed25519: and 16 lower-case hex digits)";
  static bool Accepts(std::string_view text);
};
// A git commit id: 40 (SHA-1) or 64 (SHA-256) lower-case hex digits.
struct CommitRule {
  static constexpr std::string_view kCode = "name.commit",
                                    kWords = "a commit id (40 or 64 lower-case hex digits)";
  static bool Accepts(std::string_view text);
};

using RunId = Name<RunIdRule>;
using RunnerId = Name<RunnerIdRule>;
using PoolName = Name<PoolRule>;
using SecretName = Name<SecretRule>;
using EnvName = Name<EnvRule>;
using HostName = Name<HostRule>;
using AllowedHost = Name<AllowedHostRule>;
using WorkspacePath = Name<WorkspacePathRule>;
using WorkspaceDir = Name<WorkspaceDirRule>;
using AgentKind = Name<AgentKindRule>;
using KeyId = Name<KeyIdRule>;
using CommitId = Name<CommitRule>;

}  // namespace writ::protocol

template <typename Rule>
struct std::hash<writ::protocol::Name<Rule>> {
  std::size_t operator()(const writ::protocol::Name<Rule>& name) const noexcept {
    return std::hash<std::string>()(name.text());
  }
};
