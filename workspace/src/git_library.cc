#include "git_library.h"

#include <git2.h>

namespace writ::workspace {

GitLibrary::GitLibrary() {
  ::git_libgit2_init();
}
GitLibrary::~GitLibrary() {
  ::git_libgit2_shutdown();
}

Error GitError(ErrorKind kind, std::string code, std::string message) {
  Error error{.kind = kind, .code = std::move(code), .message = std::move(message)};
  const git_error* last = ::git_error_last();
  if (last != nullptr && last->message != nullptr)
    error.message += std::string(" (") + last->message + ")";
  return error;
}

}  // namespace writ::workspace
