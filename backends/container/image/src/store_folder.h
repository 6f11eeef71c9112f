// The folder of an ImageStore, for its parts: what reads it (image_store.cc) and what brings images
// in (store_import.cc), which alone needs what reads archives.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "image_record.h"
#include "writ/base/result.h"
#include "writ/base/unique_fd.h"

namespace writ::backends::image {

inline constexpr std::string_view kPrefix = "sha256-";
inline constexpr char kRecord[] = "image.json";
inline constexpr char kNames[] = "names";

Error StoreError(int err, const std::string& what);
// Of an image's folder: shared while a job runs in it, alone for who takes it away.
Result<UniqueFd> OpenLock(int dir);
// Under a name of its own first, so that nobody finds half of it; locked, so that nobody sweeps it.
Status MoveAwayAndRemove(int store, const std::string& name);
Result<ImageRecord> ReadRecord(int store, const std::string& folder);

}  // namespace writ::backends::image
