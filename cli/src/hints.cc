#include "hints.h"

#include <cerrno>

#include "context.h"
#include "writ/base/error_text.h"

namespace writ::cli {

std::string HintFor(const Error& error, const Context& context) {
  if (!error.hint.empty()) return error.hint;
  const std::string& code = error.code;
  if (code == "run.not_found") return "list the runs with: " + context.Command("runs");
  if (code == "forbidden")
    return "ask an administrator of the plane for a principal that has the role";
  if (code == "workspace.unreadable")
    return "look whether it is there and give yourself permission to read it; `git fsck` tells "
           "what "
           "of a repository is damaged";
  if (code == "file.too_large") return "name a smaller file";
  if (code.starts_with("file.") || code.starts_with("path.") || error.sys_errno == ENOSPC ||
      error.sys_errno == EDQUOT)
    return HintForFile(error);
  if (code.starts_with("json."))
    return "it must be strict JSON in UTF-8: no comments, no name twice in one object, nothing "
           "behind the value";
  if (code.starts_with("object."))
    return "correct the member at that place; writ.json(5) and docs/protocol.md name those that "
           "there are";
  return "";
}

}  // namespace writ::cli
