#include "context.h"

#include <cerrno>
#include <cstdio>

#include "hints.h"
#include "writ/base/error_text.h"
#include "writ/base/log.h"

namespace writ::cli {

namespace {

// What the command line names is there already, or cannot be read or written where it is.
bool IsOfANamedPlace(const Error& error) {
  if (error.code.ends_with(".exists") || error.code == "restore.not_empty") return true;
  if (!error.code.starts_with("file.") && !error.code.starts_with("path.")) return false;
  switch (error.sys_errno) {
    case EEXIST:
    case ENOENT:
    case EACCES:
    case EPERM:
    case EROFS:
    case EISDIR:
    case ENOTDIR:
    case ELOOP:
    case ENAMETOOLONG:
      return true;
    default:
      return false;
  }
}

}  // namespace

ExitCode ExitCodeFor(const Error& error) {
  if (error.code == "plane.unreachable" || error.code == "plane.tls" ||
      error.code == "plane.timeout")
    return kPlaneUnreachable;
  // What the plane's rules or roles do not let this caller do.
  if (error.code == "policy_denied" || error.code == "unauthorized" || error.code == "forbidden" ||
      (error.code == "plane.error" && error.kind == ErrorKind::kDenied))
    return kPolicyDenied;
  if (error.code == "plane.nonsense") return kPlaneUnreachable;  // it is not a plane that answers
  if (error.code == "run.state") return kUsage;                  // as run.ended
  if (error.sys_errno == ENOSPC || error.sys_errno == EDQUOT)
    return kFailed;  // a full disk is no fault of the command line, nor a plane out of reach
  if (error.code.starts_with("cli.dir_")) return kUsage;    // unreadable input
  if (error.code.starts_with("workspace.")) return kUsage;  // not a checkout that can be run
  if (IsOfANamedPlace(error)) return kUsage;
  switch (error.kind) {
    case ErrorKind::kInvalid:
    case ErrorKind::kNotFound:
      return kUsage;
    case ErrorKind::kUnavailable:
      return error.code.starts_with("plane.") ? kPlaneUnreachable : kFailed;
    case ErrorKind::kCancelled:
      return kRunCancelled;
    default:
      return kFailed;
  }
}

std::string Context::Command(std::string_view arguments) const {
  return self + " " + std::string(arguments);
}

void Context::PrintJson(const json::Value& value) const {
  std::string text = json::WritePretty(value) + "\n";
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

void Context::Print(std::string_view text) const {
  if (json) return;
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

void Context::Note(std::string_view text) const {
  if (json) return;
  if (log_json) return log::Info("cli.note", text);
  std::fprintf(stderr, "%.*s\n", static_cast<int>(text.size()), text.data());
}

void Context::Fail(const Error& error) {
  Fail(ExitCodeFor(error), error);
}

void Context::NoteError(std::string_view what, const Error& error) const {
  std::string text = std::string(what) + ": " + TerminalSafe(ErrorText(error), Newlines::kKeep);
  text.pop_back();  // Note ends its line by itself
  Note(text);
}

void Context::Fail(ExitCode code, const Error& error) {
  exit_code = code;
  const std::string hint = HintFor(error, *this);
  Error plain = error;
  plain.hint.clear();
  if (json) {
    json::Object out{{"error", json::ToWellFormedUtf8(plain.ToString())},
                     {"code", error.code},
                     {"kind", std::string(ErrorKindName(error.kind))}};
    if (!run_id.empty()) out.Set("runId", run_id);
    if (!hint.empty()) out.Set("hint", hint);
    PrintJson(std::move(out));
    return;
  }
  if (log_json)
    return log::Error("cli.failed", plain.ToString(), {{"code", error.code}, {"hint", hint}});
  plain.hint = hint;
  std::fprintf(stderr, "writ: %s", TerminalSafe(ErrorText(plain), Newlines::kKeep).c_str());
}

std::string TerminalSafe(std::string_view text, Newlines newlines) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  out.reserve(text.size());
  for (char c : text) {
    auto u = static_cast<unsigned char>(c);
    bool control = u < 0x20 || u == 0x7f;
    if (control && !(newlines == Newlines::kKeep && (c == '\n' || c == '\t'))) {
      out += "\\x";
      out += kHex[u >> 4];
      out += kHex[u & 15];
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace writ::cli
