#include "object_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>

#include "writ/base/file.h"
#include "writ/base/paths.h"

namespace writ::workspace {
namespace {

// One level of a listing: [begin, end) lies below `prefix_size` bytes of shared folder name.
Result<ObjectId> WriteLevel(OdbSource& objects, TreeListing::const_iterator begin,
                            TreeListing::const_iterator end, std::size_t prefix_size) {
  // Sorted as git sorts: a folder as if its name ended in '/'.
  std::map<std::string, std::string> entries;
  for (auto item = begin; item != end;) {
    std::string_view rest = std::string_view(item->path).substr(prefix_size);
    std::size_t slash = rest.find('/');
    std::string name(rest.substr(0, slash));
    ObjectId id = item->id;
    char mode[16];
    std::string sort_as = name;
    auto next = item + 1;
    if (slash == std::string_view::npos) {
      std::snprintf(mode, sizeof mode, "%o", item->mode);
    } else {
      std::string_view folder = std::string_view(item->path).substr(0, prefix_size + slash + 1);
      while (next != end && next->path.starts_with(folder)) ++next;
      WRIT_ASSIGN(id, WriteLevel(objects, item, next, folder.size()));
      std::snprintf(mode, sizeof mode, "40000");
      sort_as.push_back('/');
    }
    entries[sort_as] = std::string(mode) + " " + name + std::string(1, '\0') +
                       std::string(reinterpret_cast<const char*>(id.bytes.data()), id.bytes.size());
    item = next;
  }
  std::string tree;
  for (const auto& [name, entry] : entries) tree += entry;
  return objects.Write(ObjectType::kTree, tree);
}

}  // namespace

Result<ObjectId> WriteTrees(OdbSource& objects, const TreeListing& listing) {
  return WriteLevel(objects, listing.begin(), listing.end(), 0);
}

Result<ObjectId> WriteCommit(OdbSource& objects, const ObjectId& tree, const ObjectId& parent,
                             std::int64_t time, std::string_view message) {
  std::string who = "writ <writ@localhost> " + std::to_string(time) + " +0000\n";
  return objects.Write(ObjectType::kCommit, "tree " + tree.Hex() + "\nparent " + parent.Hex() +
                                                "\nauthor " + who + "committer " + who + "\n" +
                                                std::string(message));
}

Status CreateRef(const RepositoryFiles& repository, const std::string& name, const ObjectId& id) {
  auto exists = [&] {
    return Error{.kind = ErrorKind::kConflict,
                 .code = "pull.branch_exists",
                 .message = "the branch " + name + " is there already with something else",
                 .hint = "rename or delete that branch and pull again"};
  };
  WRIT_ASSIGN(UniqueFd common, OpenDirectory(repository.common_dir));
  WRIT_ASSIGN(auto packed, ReadRef(repository, name));
  if (packed) return exists();
  std::size_t slash = name.rfind('/');
  auto folder = MakeDirectoriesBeneath(common.get(), name.substr(0, slash), 0777);
  if (!folder) {
    Error error = std::move(folder).error();
    error.code = "pull.ref_unwritable";
    return std::move(error).With("making the branch " + name);
  }
  // git's own protocol: the lock file is the new content.
  std::string leaf = name.substr(slash + 1);
  std::string lock = leaf + ".lock";
  UniqueFd fd(::openat(folder->get(), lock.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  if (!fd) return SysError(errno, "pull.ref_unwritable", "cannot lock the branch " + name);
  Status done = WriteAll(fd.get(), id.Hex() + "\n");
  // The objects first, then the name that leads to them.
  if (done && (::syncfs(fd.get()) != 0))
    done = SysError(errno, "pull.ref_unwritable", "cannot make the branch durable");
  if (done && ::faccessat(folder->get(), leaf.c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0)
    done = exists();
  if (done && ::renameat(folder->get(), lock.c_str(), folder->get(), leaf.c_str()) != 0)
    done = SysError(errno, "pull.ref_unwritable", "cannot write the branch " + name);
  if (!done) (void)::unlinkat(folder->get(), lock.c_str(), 0);
  return done;
}

}  // namespace writ::workspace
