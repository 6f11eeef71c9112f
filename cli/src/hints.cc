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
           "what of a repository is damaged";
  if (code.starts_with("workspace.object_"))
    return "`git fsck` tells what of the repository is damaged; fetch or clone it again";
  if (code == "workspace.write_failed") return "look whether its disk is full or read-only";
  if (code == "workspace.hostile_path")
    return "no checkout of yours is changed by such a path: rename it in the repository";
  if (code == "run.state" || code == "run.ended" || code == "run.no_receipt")
    return "see where it stands with: " + context.Command("runs");
  if (code == "runner.not_found")
    return "list those that there are with: " + context.Command("runners");
  if (code == "principal.not_found")
    return "list those that there are with: " + context.Command("principals list");
  if (code == "name.run_id")
    return "a run's id begins with run_; list them with: " + context.Command("runs");
  if (code == "plane.bind")
    return "another program has the port: name another with --port, or 0 for any that is free";
  if (code == "plane.host") return "name an address or a name of this machine with --host";
  if (code == "plane.timeout")
    return "see whether the plane is busy or on another address; --plane-timeout waits longer";
  if (code == "enroll.pool" || code == "name.pool")
    return "a pool's name is of letters, digits and _.:-, like `default`";
  if (code == "principal.exists")
    return "choose another name, or remove that one: " + context.Command("principals list");
  if (code == "http.header")
    return "the token file must hold one token, as `writ principals add --out` writes it";
  if (code == "copy.failed")
    return "look whether both places are there and can be read and written";
  if (code == "secret.scope") return "write it like pool:default";
  if (code == "secret.source")
    return "set the value itself, or name one source: see `writ secrets set --help`";
  if (code.starts_with("secret."))
    return "a name is of letters, digits and _, and begins with no digit; a value is text without "
           "NUL";
  if (code == "runner.config.pool") return "choose another name for the pool";
  if (code == "cli.half_tls") return "give both --tls-cert and --tls-key, or neither";
  if (code == "cli.way_without_plane" || code == "cli.token_without_plane")
    return "name the plane with --plane URL, or leave this out";
  if (code == "file.too_large") return "name a smaller file";
  if (code.starts_with("file.") || code.starts_with("path.") || error.sys_errno == ENOSPC ||
      error.sys_errno == EDQUOT)
    return HintForFile(error);
  return HintForJson(error);
}

}  // namespace writ::cli
