// A requester's repository, found and read as files: nothing is executed, nothing is written, and
// libgit2 never opens it as a repository, so its owner and configuration cannot matter.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "git_library.h"
#include "git_object.h"
#include "writ/base/unique_fd.h"

struct git_odb;
extern "C" void git_odb_free(git_odb* db);

namespace writ::workspace {

struct RepositoryFiles {
  std::string root{};     // the checkout, absolute
  std::string git_dir{};  // of this checkout (a linked worktree has its own)
  std::string common_dir{};
  std::string branch{};  // "refs/heads/main", empty when HEAD is detached
  ObjectId head{};
  bool trust_file_mode = true;  // core.fileMode
};

// The repository that holds `path`; every refusal that Capture names for repositories.
Result<RepositoryFiles> FindRepository(const std::string& path);

// What a ref holds now, from its file or packed-refs; nullopt where there is none.
Result<std::optional<ObjectId>> ReadRef(const RepositoryFiles& repository, const std::string& name);

// The object folder with its alternates, through libgit2.
class OdbSource final : public ObjectSource {
 public:
  static Result<std::unique_ptr<OdbSource>> Open(const RepositoryFiles& repository);
  Result<GitObject> Read(const ObjectId& id) const override;
  bool Has(const ObjectId& id) const override;
  std::size_t AbbreviationOf(const ObjectId& id) const override;
  // Adds an object (loose), unless it is there.
  Result<ObjectId> Write(ObjectType type, std::string_view content);
  git_odb* raw() const { return odb_.get(); }

 private:
  GitLibrary library_;
  GitPtr<git_odb, git_odb_free> odb_;
  std::size_t default_abbreviation_ = 7;
};

}  // namespace writ::workspace
