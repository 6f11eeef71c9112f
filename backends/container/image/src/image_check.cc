#include "image_check.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <string>

#include "store_folder.h"
#include "tree_digest.h"
#include "writ/backends/image/oci_documents.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"

namespace writ::backends::image {
namespace {

constexpr char kLookedAt[] = "looked-at";

std::string ThisBoot() {
  auto id = ReadFile("/proc/sys/kernel/random/boot_id", 100);
  return id ? *id : std::string();
}

bool SeenThisBoot(int dir) {
  auto file = OpenBeneath(dir, kLookedAt, O_RDONLY);
  auto noted = file ? ReadAll(file->get(), 100) : std::move(file).error();
  return noted && !noted->empty() && *noted == ThisBoot();
}

}  // namespace

void NoteLookedAt(int dir) {
  // Where it cannot be written the next use looks again.
  (void)WriteFileAtomic(dir, kLookedAt, ThisBoot(), 0600).has_value();
}

Status CheckTree(int dir, const ImageRecord& record) {
  if (!record.tree)
    return Error{ErrorKind::kUnsupported, "image.not_comparable",
                 "this image was imported by an older version, which noted no digest of its files",
                 "import it again"};
  auto root = OpenBeneath(dir, "root", O_RDONLY | O_DIRECTORY);
  auto found = root ? TreeDigest(root->get()) : std::move(root).error();
  if (found && *found == *record.tree) {
    NoteLookedAt(dir);
    return {};
  }
  (void)::unlinkat(dir, kLookedAt, 0);
  if (!found && found.error().kind == ErrorKind::kIntegrity) return std::move(found).error();
  return Error{
      ErrorKind::kIntegrity, "image.damaged",
      "the files of image " + ImageDigestText(record.id) + " are not the ones that were imported",
      "import the image again, which mends it"};
}

Status CheckOnceABoot(int dir, const ImageRecord& record) {
  if (!record.tree || SeenThisBoot(dir)) return {};
  UniqueFd turn(::openat(dir, kRecord, O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!turn || ::flock(turn.get(), LOCK_EX) != 0)
    return StoreError(errno, "lock an image's record");
  return SeenThisBoot(dir) ? Status() : CheckTree(dir, record);
}

}  // namespace writ::backends::image
