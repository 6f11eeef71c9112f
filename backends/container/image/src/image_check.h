// Whether an image's root is still what its record says. Read whole, so once a boot and on demand.
#pragma once

#include "image_record.h"
#include "writ/base/result.h"

namespace writ::backends::image {

// `dir`: the image's folder, borrowed. kIntegrity "image.damaged", noted so that CheckOnceABoot
// looks again; kUnsupported "image.not_comparable": the record has no digest of the tree.
Status CheckTree(int dir, const ImageRecord& record);

// CheckTree, but not where this boot has seen it pass: what was written before can only be lost
// between boots. Several at once look one after the other. A record without a digest passes.
Status CheckOnceABoot(int dir, const ImageRecord& record);

// For a tree whose digest was just taken.
void NoteLookedAt(int dir);

}  // namespace writ::backends::image
