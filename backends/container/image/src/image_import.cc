#include "image_import.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "directory_copy.h"
#include "image_source.h"
#include "layer.h"
#include "root_writer.h"
#include "tree_digest.h"
#include "writ/base/clock.h"
#include "writ/base/paths.h"

namespace writ::backends::image {
namespace {

Result<UniqueFd> MakeEmpty(int into, const char* name, mode_t mode) {
  if (::mkdirat(into, name, 0700) != 0)
    return SysError(errno, "image.store", "cannot make a directory in the image store");
  WRIT_ASSIGN(UniqueFd dir, OpenBeneath(into, name, O_RDONLY | O_DIRECTORY));
  if (::fchmod(dir.get(), mode) != 0)
    return SysError(errno, "image.store", "cannot set the mode of a directory in the image store");
  return dir;
}

Status ApplyLayers(const ImageSource& source, const ImportLimits& limits, RootWriter& root,
                   ImageRecord& record) {
  for (std::size_t i = 0; i < source.layers.size(); ++i) {
    Status applied = ApplyLayer(source.layers[i].get(), source.config.diff_ids[i], limits, root);
    if (!applied) return std::move(applied).error().With("layer " + std::to_string(i + 1));
  }
  record.id = source.config_digest;
  record.manifest = source.manifest_digest;
  record.layers = source.config.diff_ids;
  record.tags = source.tags;
  record.source = source.kind == ImageSource::Kind::kOciLayout ? "oci-layout" : "docker-archive";
  return {};
}

}  // namespace

Result<ImageRecord> ImportInto(int into, const std::string& path, const ImportOptions& options) {
  const ImportLimits& limits = options.limits;
  ImageRecord record;
  record.imported_at = FormatRfc3339(SystemClock().Now());
  UniqueFd given(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat st {};
  if (!given || ::fstat(given.get(), &st) != 0) {
    Error error = SysError(errno, "image.read", "cannot open " + path);
    error.hint = "name an OCI image layout, a docker-archive or a root directory";
    return error;
  }
  WRIT_ASSIGN(UniqueFd root_dir, MakeEmpty(into, "root", 0755));
  RootWriter root(root_dir.get(), limits, record.findings);
  if (S_ISDIR(st.st_mode) && IsOciLayout(given.get())) {
    WRIT_ASSIGN(ImageSource source, OpenOciLayout(given.get(), options.tag, limits));
    WRIT_TRY(ApplyLayers(source, limits, root, record));
  } else if (S_ISDIR(st.st_mode)) {
    WRIT_ASSIGN(record.id, CopyDirectory(given.get(), limits, root));
    record.source = "directory";
  } else if (S_ISREG(st.st_mode)) {
    WRIT_ASSIGN(UniqueFd files, MakeEmpty(into, "source", 0700));
    WRIT_TRY(SpoolArchive(given.get(), files.get(), limits));
    const bool layout = IsOciLayout(files.get());
    if (!layout && ::faccessat(files.get(), "manifest.json", F_OK, AT_SYMLINK_NOFOLLOW) != 0)
      return Error{ErrorKind::kInvalid, "image.unknown_format",
                   "this archive is neither an OCI image layout nor a docker-archive",
                   "write it with `skopeo copy ... oci-archive:FILE` or `docker save -o FILE`; "
                   "unpack the archive of a root directory and import the directory"};
    auto source = layout ? OpenOciLayout(files.get(), options.tag, limits)
                         : OpenDockerFiles(files.get(), options.tag, limits);
    if (!source) return std::move(source).error();
    WRIT_TRY(ApplyLayers(*source, limits, root, record));
    WRIT_TRY(RemoveTreeBeneath(into, "source"));
  } else {
    return Error{ErrorKind::kInvalid, "image.unknown_format",
                 path + " is neither a file nor a directory"};
  }
  if (record.findings.entries == 0)
    return Error{ErrorKind::kInvalid, "image.empty", "the image has no files",
                 "it has to hold the programs that jobs run; give a root directory, or write the "
                 "image with its layers"};
  WRIT_TRY(root.MakePlaces());
  WRIT_ASSIGN(record.tree, TreeDigest(root_dir.get()));
  return record;
}

}  // namespace writ::backends::image
