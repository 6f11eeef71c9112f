// image.json: the record beside an image's root.
#pragma once

#include <string_view>

#include "writ/backends/image/image_store.h"

namespace writ::backends::image {

inline constexpr std::uint64_t kRecordBytes = 1u << 20;

Result<ImageRecord> ParseImageRecord(std::string_view bytes);

}  // namespace writ::backends::image
