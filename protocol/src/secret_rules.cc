#include "writ/protocol/secret_rules.h"

#include "writ/protocol/execution.h"
#include "writ/protocol/json.h"

namespace writ::protocol {
namespace {

Error Refused(std::string code, std::string message, std::string hint) {
  return Error{.kind = ErrorKind::kInvalid,
               .code = std::move(code),
               .message = std::move(message),
               .hint = std::move(hint)};
}

}  // namespace

Status CheckSecretVariable(std::string_view name) {
  if (!IsReservedEnvName(name)) return {};
  return Refused("secret.reserved_name",
                 "a secret cannot be named " + std::string(name) +
                     ": that variable belongs to the launcher or the proxy, and no job is given it",
                 "store it under another name");
}

Status CheckSecretLength(const std::string& name, std::string_view value) {
  const std::string subject = "the value of secret " + name;
  if (value.size() < kMinSecretBytes)
    return Refused("secret.too_short",
                   subject + " is shorter than " + std::to_string(kMinSecretBytes) +
                       " bytes and could not be kept out of the log",
                   "store a longer value, or pass it as an ordinary variable if it is no secret");
  if (value.size() > kMaxSecretBytes)
    return Refused("secret.too_large",
                   subject + " is longer than " + std::to_string(kMaxSecretBytes) + " bytes",
                   "release a key or token rather than a whole file");
  return {};
}

Status CheckSecretValue(const std::string& name, std::string_view value) {
  WRIT_TRY(CheckSecretLength(name, value));
  const std::string subject = "the value of secret " + name;
  if (value.find('\0') != std::string_view::npos)
    return Refused("secret.nul", subject + " holds a NUL byte, which no environment can carry",
                   "store it encoded, in base64 for instance");
  if (!json::IsWellFormedUtf8(value))
    return Refused("secret.not_text", subject + " is not UTF-8 text",
                   "store it encoded, in base64 for instance");
  return {};
}

}  // namespace writ::protocol
