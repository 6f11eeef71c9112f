#include "writ/backends/sandbox/image_view.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>

#include "writ/backends/job/launch_planning.h"
#include "writ/base/folder.h"
#include "writ/base/paths.h"

namespace writ::backends {
namespace {

using launch::ViewStep;
using Kind = launch::ViewStep::Kind;

constexpr std::array<std::string_view, 8> kOurs = {"dev", "home", "proc",  "run",
                                                   "sys", "tmp",  ".writ", "workspace"};
constexpr std::size_t kMaxSteps = 20'000;

class Builder {
 public:
  Builder(const ImagePlace& at, const std::string& root, const std::vector<std::string>& places)
      : at_(at), root_(root), places_(places) {}

  // `path`: "" or "/a/b" in the container.
  Status Directory(int dir, const std::string& path) {
    WRIT_ASSIGN(std::vector<std::string> names, NamesIn(dir, "image.view"));
    for (const std::string& name : names) {
      const bool ours = path.empty() && std::find(kOurs.begin(), kOurs.end(), name) != kOurs.end();
      if (!ours) WRIT_TRY(Entry(dir, name, path + "/" + name));
      if (steps_.size() > kMaxSteps)
        return Unsupported(
            at_.tier, "image_too_wide",
            "a directory of the image that something is mounted in has too many entries");
    }
    return {};
  }
  std::vector<ViewStep> Take() { return std::move(steps_); }

 private:
  bool LeadsToPlace(const std::string& path) const {
    return std::any_of(places_.begin(), places_.end(), [&](const std::string& place) {
      return place.size() > path.size() && place.starts_with(path) && place[path.size()] == '/';
    });
  }
  bool IsPlace(const std::string& path) const {
    return std::find(places_.begin(), places_.end(), path) != places_.end();
  }

  Status Entry(int dir, const std::string& name, const std::string& path) {
    struct stat st {};
    if (::fstatat(dir, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0)
      return SysError(errno, "image.view", "cannot look at the image");
    const bool leads = LeadsToPlace(path);
    if (leads && !S_ISDIR(st.st_mode))
      return Unsupported(
          at_.tier, "image_in_the_way",
          "the image has " + path + " as a link or a file, and something is to be mounted below it",
          "use an image in which it is a directory");
    if (IsPlace(path)) return {};  // mounted over
    ViewStep step;
    step.target = at_.below + path.substr(1);
    if (S_ISLNK(st.st_mode)) {
      char text[PATH_MAX];
      const ssize_t size = ::readlinkat(dir, name.c_str(), text, sizeof text);
      if (size <= 0) return SysError(errno, "image.view", "cannot read a link of the image");
      step.kind = Kind::kSymlink;
      step.source.assign(text, static_cast<std::size_t>(size));
    } else if (leads) {
      step.kind = Kind::kDirectory;
      steps_.push_back(std::move(step));
      WRIT_ASSIGN(UniqueFd below, OpenBeneath(dir, name, O_RDONLY | O_DIRECTORY));
      return Directory(below.get(), path);
    } else {
      step.kind = Kind::kBind;
      step.source = root_ + path;
    }
    steps_.push_back(std::move(step));
    return {};
  }

  const ImagePlace& at_;
  const std::string& root_;
  const std::vector<std::string>& places_;
  std::vector<ViewStep> steps_;
};

}  // namespace

Result<std::vector<ViewStep>> ImageView(const ImagePlace& at, const std::string& root,
                                        const std::vector<std::string>& places) {
  WRIT_ASSIGN(UniqueFd dir, OpenDirectory(root));
  Builder builder(at, root, places);
  WRIT_TRY(builder.Directory(dir.get(), ""));
  return builder.Take();
}

}  // namespace writ::backends
