#include "writ/backends/sandbox/root_images.h"

#include <utility>

#include "writ/backends/image/oci_documents.h"
#include "writ/backends/job/launch_planning.h"

namespace writ::backends {
namespace {

constexpr char kImport[] =
    "bring it in with `writ image import PATH`, or name one of `writ image ls`";

}  // namespace

Result<image::ImageRecord> RootImages::Find(const Plan& plan) const {
  const std::string& wanted = Wanted(plan);
  auto record = store_.Find(wanted);
  if (record) return record;
  if (record.error().kind == ErrorKind::kNotFound)
    return Unsupported(at_.tier, "image_unknown", "this runner has no image " + wanted, kImport);
  return std::move(record).error();
}

Result<HeldRoot> RootImages::Hold(const Plan& plan, const std::vector<std::string>& places) const {
  WRIT_ASSIGN(image::ImageRecord record, Find(plan));
  const std::string digest = image::ImageDigestText(record.id);
  WRIT_ASSIGN(image::HeldImage held, store_.Hold(digest));
  HeldRoot out;
  out.lock = std::move(held.lock);
  out.digest = digest;
  WRIT_ASSIGN(out.view, ImageView(at_, held.root, places));
  return out;
}

}  // namespace writ::backends
