#include "git_library.h"

#include <git2.h>
#include <string.h>

#include <cerrno>
#include <string_view>

namespace writ::workspace {
namespace {

// libgit2 keeps the errno of a failed call as the end of its sentence, and only there.
int NoRoom(std::string_view sentence) {
  for (int err : {ENOSPC, EDQUOT})
    if (const char* words = ::strerrordesc_np(err); words != nullptr && sentence.ends_with(words))
      return err;
  return 0;
}

}  // namespace

GitLibrary::GitLibrary() {
  ::git_libgit2_init();
}
GitLibrary::~GitLibrary() {
  ::git_libgit2_shutdown();
}

Error GitError(ErrorKind kind, std::string code, std::string message) {
  Error error{.kind = kind, .code = std::move(code), .message = std::move(message)};
  const git_error* last = ::git_error_last();
  if (last == nullptr || last->message == nullptr) return error;
  // A full disk says nothing about what was to be written.
  if (int err = NoRoom(last->message); err != 0)
    return Error{.kind = ErrorKind::kUnavailable,
                 .code = "workspace.disk_full",
                 .message = "there is no room for the repository's objects",
                 .hint = "make room on the disk",
                 .sys_errno = err};
  error.message += std::string(" (") + last->message + ")";
  return error;
}

}  // namespace writ::workspace
