#include "session/session_dirs.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "writ/base/paths.h"
#include "writ/protocol/digest.h"

namespace writ::runner {

// Short, because paths below it become socket names and the like.
std::string SessionDirs::NameFor(const std::string& run_id) {
  return "s-" + protocol::Sha256(run_id).ToHex().substr(0, 24);
}

Result<SessionDirs> SessionDirs::Make(int sessions, const std::string& sessions_path,
                                      const std::string& run_id) {
  SessionDirs dirs;
  dirs.name = NameFor(run_id);
  if (mkdirat(sessions, dirs.name.c_str(), 0711) != 0) {
    if (errno == EEXIST)
      return Error{.kind = ErrorKind::kConflict,
                   .code = "session.exists",
                   .message = "a session of this run is on disk already",
                   .hint = "another runner may share this work directory"};
    return SysError(errno, "session.mkdir", "could not make the session's folder");
  }
  auto make = [&](const std::string& path, mode_t mode) -> Result<UniqueFd> {
    WRIT_ASSIGN(UniqueFd fd, MakeDirectoriesBeneath(sessions, dirs.name + "/" + path, mode));
    if (fchmod(fd.get(), mode) != 0)
      return SysError(errno, "session.mkdir", "could not set the mode of a session's folder");
    return fd;
  };
  WRIT_ASSIGN(UniqueFd top, OpenBeneath(sessions, dirs.name, O_RDONLY | O_DIRECTORY));
  if (fchmod(top.get(), 0711) != 0)
    return SysError(errno, "session.mkdir", "could not set the mode of a session's folder");
  WRIT_ASSIGN(UniqueFd closed, make("private", 0700));
  WRIT_ASSIGN(dirs.blobs, make("private/in", 0700));
  WRIT_ASSIGN(dirs.trusted, make("private/trusted", 0700));
  WRIT_ASSIGN(dirs.out, make("private/out", 0700));
  WRIT_ASSIGN(dirs.tree, make(std::string(kTree), 0700));
  WRIT_ASSIGN(UniqueFd job, make("job", 0711));
  dirs.tree_path = sessions_path + "/" + dirs.name + "/" + std::string(kTree);
  dirs.job_path = sessions_path + "/" + dirs.name + "/job";
  return dirs;
}

}  // namespace writ::runner
