// ImageStore: images as root directories, named by what they are.
//
//   DIR/sha256-HEX/       image.json (record), root/ (the tree), lock (held while it is used),
//                         looked-at (the boot in which the tree was last compared with the record)
//   DIR/names/NAME        the HEX that a name stands for
//   DIR/.new-*, .old-*    an import at work, a removal at work; swept when nobody holds their lock
//
// An image gets its name by one rename, after everything in it has reached the disk: a process that
// is killed leaves a whole image or none. What a disk loses later is found: a tree is compared with
// its record before its first use after a boot, and whenever somebody asks. Safe for several
// processes at once; every method may be called from any thread. An image is the importing user's
// own; jobs only pass through (mode 0711).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "writ/backends/image/import_limits.h"
#include "writ/base/result.h"
#include "writ/base/unique_fd.h"
#include "writ/protocol/digest.h"
#include "writ/protocol/json.h"

namespace writ::backends::image {

struct ImageRecord {
  // OCI and docker: of the configuration, which names every layer. A directory: of its content.
  protocol::Digest id;
  std::string source;                        // "oci-layout", "docker-archive", "directory"
  std::optional<protocol::Digest> manifest;  // OCI
  std::vector<protocol::Digest> layers;      // of the decompressed layers, the lowest first
  std::optional<protocol::Digest> tree;      // of root/ as it was written; older stores have none
  std::vector<std::string> tags;             // as the source had them
  std::string imported_at;                   // RFC 3339
  ImportFindings findings;
  std::vector<std::string> names;  // in this store; not part of the record on disk

  json::Value ToJson() const;
};

// Keeps the image from being removed as long as it lives.
struct HeldImage {
  ImageRecord record;
  std::string root;  // absolute
  UniqueFd lock;
};

struct ImportOptions {
  std::string name;  // in this store; "" for none
  std::string tag;   // which image of several
  ImportLimits limits;
};

class ImageStore {
 public:
  // `dir`: absolute; made where it is missing and something is put into it.
  explicit ImageStore(std::string dir) : dir_(std::move(dir)) {}
  const std::string& dir() const { return dir_; }

  // `path`: an OCI image layout (directory or tar), a docker-archive, or a root directory. An image
  // that is there already and whole is left as it is, and gets the name; one that is damaged is
  // replaced (kConflict "image.in_use" while a job runs in it).
  Result<ImageRecord> Import(const std::string& path, const ImportOptions& options) const;
  // The damaged ones are left out and named in `damaged`.
  Result<std::vector<ImageRecord>> List(std::vector<std::string>* damaged = nullptr) const;
  // `reference`: a name, "sha256:HEX" or HEX of image or manifest, or at least 12 digits of one.
  // kNotFound "image.unknown".
  Result<ImageRecord> Find(const std::string& reference) const;
  // kIntegrity "image.damaged": it is not what was imported, as the first use after a boot, or
  // Verify, has found; not looked at again for nothing.
  Result<HeldImage> Hold(const std::string& reference) const;
  // Reads the whole tree. kIntegrity "image.damaged" as above; kUnsupported "image.not_comparable"
  // where an older version imported it.
  Result<ImageRecord> Verify(const std::string& reference) const;
  // kConflict "image.in_use" while a job runs in it.
  Status Remove(const std::string& reference) const;

 private:
  std::string dir_;
};

// [A-Za-z0-9][A-Za-z0-9._:-]{0,127}, and not what a digest looks like.
bool IsImageName(std::string_view name);

}  // namespace writ::backends::image
