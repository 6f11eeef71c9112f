// GitLibrary: libgit2 in use while one of these lives, and its errors as ours.
//
// libgit2 is only used for what needs no repository: indexing packs, reading object folders and
// index files, adding loose objects, and comparing two contents. So no configuration, attribute
// file, hook or owner check of a repository is ever in play.
#pragma once

#include <string>
#include <string_view>

#include "writ/base/result.h"

namespace writ::workspace {

class GitLibrary {
 public:
  GitLibrary();
  ~GitLibrary();
  GitLibrary(const GitLibrary&) = delete;
  GitLibrary& operator=(const GitLibrary&) = delete;
};

// The failure of a libgit2 call in this thread: `message` and what libgit2 says.
Error GitError(ErrorKind kind, std::string code, std::string message);

// Owns a libgit2 object: GitPtr<git_odb, git_odb_free> odb; git_odb_open(odb.out(), ...).
template <typename T, void (*Free)(T*)>
class GitPtr {
 public:
  GitPtr() = default;
  ~GitPtr() { reset(); }
  GitPtr(GitPtr&& other) noexcept : ptr_(other.ptr_) { other.ptr_ = nullptr; }
  GitPtr& operator=(GitPtr&& other) noexcept {
    std::swap(ptr_, other.ptr_);
    return *this;
  }
  GitPtr(const GitPtr&) = delete;
  GitPtr& operator=(const GitPtr&) = delete;
  T* get() const { return ptr_; }
  T** out() {
    reset();
    return &ptr_;
  }
  void reset() {
    if (ptr_ != nullptr) Free(ptr_);
    ptr_ = nullptr;
  }

 private:
  T* ptr_ = nullptr;
};

}  // namespace writ::workspace
