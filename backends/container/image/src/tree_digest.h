// What the root of an image holds, as one digest: names, kinds, permissions, targets of links and
// bytes; no owners and no times. Made when the root has been written and whenever it is looked at.
#pragma once

#include "writ/base/result.h"
#include "writ/protocol/digest.h"

namespace writ::backends::image {

// `root` is borrowed. Reads everything below it beneath the handle; follows no link. What cannot be
// read or has no place in an image (a device, a socket) is kIntegrity "image.damaged".
Result<protocol::Digest> TreeDigest(int root);

}  // namespace writ::backends::image
