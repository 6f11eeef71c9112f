#include "view.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <utility>
#include <vector>

#include "writ/backends/linux/mount_tree.h"
#include "writ/base/file.h"

namespace writ::backends::launch {
namespace {

constexpr std::uint64_t kHarmless = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
constexpr char kNull[] = "/dev/null";
// All devpts of the host draw on one number (kernel.pty.max, 4,096 by default).
constexpr char kMostTerminals[] = "64";
constexpr char kMoment[] = ".lower";

std::string Through(const UniqueFd& fd) {
  return "/proc/self/fd/" + std::to_string(fd.get());
}

class View {
 public:
  View(int root, std::vector<UniqueFd> lower_trees)
      : root_(root), lower_trees_(std::move(lower_trees)) {}

  Status Apply(const ViewStep& step) {
    using Kind = ViewStep::Kind;
    switch (step.kind) {
      case Kind::kDirectory:
        return Directory(step);
      case Kind::kSymlink:
        return Symlink(step);
      case Kind::kFile:
        return File(step);
      case Kind::kBind:
        return Bind(step);
      case Kind::kTmpfs:
        return Tmpfs(step);
      case Kind::kProc:
        return NewOver(step.target, "proc", {{"hidepid", "2"}}, kHarmless | MOUNT_ATTR_NOEXEC);
      case Kind::kDevpts:
        return NewOver(
            step.target, "devpts",
            {{"newinstance", ""}, {"ptmxmode", "0666"}, {"mode", "0620"}, {"max", kMostTerminals}},
            MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
      case Kind::kOverlay:
        return Overlay(step);
      case Kind::kMask:
        return Mask(step);
      case Kind::kSeal:
        return Seal(step);
    }
    return Error{ErrorKind::kInternal, "view.step", "an unknown step"};
  }

 private:
  Status MakeParents(const std::string& target) {
    for (std::size_t at = target.find('/'); at != std::string::npos; at = target.find('/', at + 1))
      if (::mkdirat(root_, target.substr(0, at).c_str(), 0755) != 0 && errno != EEXIST)
        return SysError(errno, "view.parent", "cannot make a directory");
    return {};
  }

  Status Directory(const ViewStep& step) {
    WRIT_TRY(MakeParents(step.target));
    if (::mkdirat(root_, step.target.c_str(), step.mode) != 0 && errno != EEXIST)
      return SysError(errno, "view.directory", "cannot make a directory");
    // mkdir heeds the umask
    WRIT_ASSIGN(UniqueFd dir, OpenUnlinkedBeneath(root_, step.target));
    if (::chmod(Through(dir).c_str(), step.mode) != 0)
      return SysError(errno, "view.directory", "cannot set a directory's mode");
    return {};
  }

  Status Symlink(const ViewStep& step) {
    WRIT_TRY(MakeParents(step.target));
    if (::symlinkat(step.source.c_str(), root_, step.target.c_str()) != 0)
      return SysError(errno, "view.symlink", "cannot make a symbolic link");
    return {};
  }

  Status File(const ViewStep& step) {
    WRIT_TRY(MakeParents(step.target));
    UniqueFd file(::openat(root_, step.target.c_str(),
                           O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!file) return SysError(errno, "view.file", "cannot make a file");
    WRIT_TRY(WriteAll(file.get(), step.source));
    if (::fchmod(file.get(), step.mode) != 0)
      return SysError(errno, "view.file", "cannot set a file's mode");
    return {};
  }

  // The place that something is mounted over: a directory or an empty file.
  Result<UniqueFd> Place(const std::string& target, bool directory) {
    WRIT_TRY(MakeParents(target));
    if (directory) {
      if (::mkdirat(root_, target.c_str(), 0755) != 0 && errno != EEXIST)
        return SysError(errno, "view.place", "cannot make a place to mount over");
    } else {
      UniqueFd file(
          ::openat(root_, target.c_str(), O_RDONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0444));
      if (!file) return SysError(errno, "view.place", "cannot make a place to mount over");
    }
    return OpenUnlinkedBeneath(root_, target);
  }

  Status Bind(const ViewStep& step) {
    auto source = OpenUnlinked(step.source);
    if (!source) {
      if (source.error().sys_errno == ENOENT && step.if_missing == IfMissing::kSkip) return {};
      return std::move(source).error();
    }
    struct stat st {};
    if (::fstat(source->get(), &st) != 0)
      return SysError(errno, "view.source", "cannot look at the source");
    const bool node = step.access == BindAccess::kDevice;
    if (node && !S_ISCHR(st.st_mode))
      return SysError(ENODEV, "view.source", "the source is not a character device");
    WRIT_ASSIGN(UniqueFd tree, CloneTree(source->get()));
    std::uint64_t attributes = node ? MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC : kHarmless;
    if (step.access == BindAccess::kReadOnly) attributes |= MOUNT_ATTR_RDONLY;
    WRIT_TRY(RestrictTree(tree.get(), attributes));
    WRIT_ASSIGN(UniqueFd target, Place(step.target, S_ISDIR(st.st_mode)));
    return AttachTree(tree.get(), target.get());
  }

  Status NewOver(const std::string& target, const std::string& type, const FsOptions& options,
                 std::uint64_t attributes) {
    WRIT_ASSIGN(UniqueFd tree, MakeFileSystem(type, options, attributes));
    WRIT_ASSIGN(UniqueFd place, Place(target, true));
    return AttachTree(tree.get(), place.get());
  }

  Status Tmpfs(const ViewStep& step) {
    char mode[16];
    ::snprintf(mode, sizeof mode, "%04o", static_cast<unsigned>(step.mode));
    FsOptions options = {{"mode", mode}};
    if (step.bytes != 0) options.emplace_back("size", std::to_string(step.bytes));
    if (step.inodes != 0) options.emplace_back("nr_inodes", std::to_string(step.inodes));
    return NewOver(step.target, "tmpfs", options, kHarmless);
  }

  Status Overlay(const ViewStep& step) {
    UniqueFd lower;
    if (step.lower_owner == LowerOwner::kRoot) {
      WRIT_ASSIGN(lower, AttachForAMoment());
    } else {
      WRIT_ASSIGN(lower, OpenUnlinked(step.source));
    }
    WRIT_ASSIGN(UniqueFd upper, OpenUnlinked(step.upper));
    WRIT_ASSIGN(UniqueFd work, OpenUnlinked(step.work));
    // Through descriptors: no name can be swapped, and none needs to be quoted.
    WRIT_TRY(NewOver(step.target, "overlay",
                     {{"lowerdir", Through(lower)},
                      {"upperdir", Through(upper)},
                      {"workdir", Through(work)},
                      {"userxattr", ""},
                      {"redirect_dir", "nofollow"},
                      {"metacopy", "off"},
                      {"index", "off"},
                      {"xino", "off"}},
                     kHarmless));
    if (step.lower_owner != LowerOwner::kRoot) return {};
    // The overlay has a copy of its own by now.
    if (::umount2(Through(lower).c_str(), MNT_DETACH) != 0 ||
        ::unlinkat(root_, kMoment, AT_REMOVEDIR) != 0)
      return SysError(errno, "view.overlay", "cannot take the lower tree away again");
    return {};
  }

  // The kernel takes a layer only from a mount that stands in our namespace.
  Result<UniqueFd> AttachForAMoment() {
    if (lower_trees_.empty())
      return Error{ErrorKind::kInternal, "view.overlay", "the lower tree is missing"};
    const UniqueFd tree = std::move(lower_trees_.front());
    lower_trees_.erase(lower_trees_.begin());
    WRIT_TRY(RestrictTree(tree.get(), kHarmless | MOUNT_ATTR_RDONLY));
    WRIT_ASSIGN(UniqueFd place, Place(kMoment, true));
    WRIT_TRY(AttachTree(tree.get(), place.get()));
    return OpenUnlinkedBeneath(root_, kMoment);
  }

  Status Mask(const ViewStep& step) {
    auto target = OpenUnlinkedBeneath(root_, step.target);
    if (!target) return target.error().sys_errno == ENOENT ? Status() : std::move(target).error();
    struct stat st {};
    if (::fstat(target->get(), &st) != 0)
      return SysError(errno, "view.mask", "cannot look at the target");
    UniqueFd empty;
    if (S_ISDIR(st.st_mode)) {
      WRIT_ASSIGN(empty, MakeFileSystem("tmpfs", {{"mode", "0555"}, {"size", "4096"}},
                                        kHarmless | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_RDONLY));
    } else {
      WRIT_ASSIGN(UniqueFd null, OpenUnlinked(kNull));
      WRIT_ASSIGN(empty, CloneTree(null.get()));
      WRIT_TRY(
          RestrictTree(empty.get(), MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_RDONLY));
    }
    return AttachTree(empty.get(), target->get());
  }

  Status Seal(const ViewStep& step) {
    auto target = OpenUnlinkedBeneath(root_, step.target);
    if (!target) return target.error().sys_errno == ENOENT ? Status() : std::move(target).error();
    WRIT_ASSIGN(UniqueFd tree, CloneTree(target->get()));
    WRIT_TRY(RestrictTree(tree.get(), MOUNT_ATTR_RDONLY));
    return AttachTree(tree.get(), target->get());
  }

  int root_;
  std::vector<UniqueFd> lower_trees_;
};

}  // namespace

Status EnterView(const std::vector<ViewStep>& steps, std::vector<UniqueFd> lower_trees) {
  WRIT_TRY(MakeMountsPrivate());
  WRIT_ASSIGN(UniqueFd root, MakeFileSystem("tmpfs", {{"mode", "0755"}}, kHarmless));
  {
    // Over the root directory of the host, out of everybody's way: what is looked up by path from
    // here on still starts at our old root.
    WRIT_ASSIGN(UniqueFd host_root, OpenUnlinked("/"));
    WRIT_TRY(AttachTree(root.get(), host_root.get()));
  }
  View view(root.get(), std::move(lower_trees));
  for (const ViewStep& step : steps) {
    if (Status applied = view.Apply(step); !applied) {
      Error error = std::move(applied).error();
      error.message = std::string(ViewStepName(step.kind)) + " /" + step.target +
                      (step.kind == ViewStep::Kind::kBind ? " from " + step.source : "") + ": " +
                      error.message;
      return error;
    }
  }
  WRIT_TRY(SwitchRoot(root.get()));
  struct mount_attr attr {};
  attr.attr_set = MOUNT_ATTR_RDONLY;  // the root alone: what is mounted in it has its own answer
  if (::mount_setattr(root.get(), "", AT_EMPTY_PATH, &attr, sizeof attr) != 0)
    return SysError(errno, "view.read_only", "cannot make the root read-only");
  return {};
}

}  // namespace writ::backends::launch
