// Changing a plane's signing key: the key manifest of protocol.md section 6 in a plane's directory.
//
//   keys/manifest.json    writ.keys.v1: every plane key with its time, signed by the org key
//   keys/plane-ID.pem     a plane key of before, 0600: closes the contracts that it issued; may be
//                         removed once none of them is open
//   keys/plane-next.pem   only while a rotation is under way
//
// Whatever is killed and whenever, the directory can be opened, and the same call finishes what was
// begun. A plane that is running goes on with the key that it has read and must be restarted before
// that key's time is over: after it, it issues no contract and is not ready.
#pragma once

#include <chrono>
#include <string>

#include "writ/base/clock.h"
#include "writ/base/result.h"

namespace writ::plane {

struct PlaneKeyRotation {
  std::string org_key_file;            // PEM; empty: keys/org.pem of the directory
  std::chrono::seconds overlap{3600};  // how long the old key may still issue contracts
};
struct RotatedPlaneKey {
  std::string old_key_id, new_key_id;
  WallTime old_ends;
};
// One at a time: kConflict where another one is under way. kDenied "plane.org_key" where the org
// key is not the one that the directory names.
Result<RotatedPlaneKey> RotatePlaneKey(const std::string& dir, const PlaneKeyRotation& rotation,
                                       const Clock& clock);

// Writes the first manifest where there is none yet and the org key is at hand; the plane does it
// when it is opened.
Status EnsureKeyManifest(const std::string& dir, const Clock& clock);

// The manifest's JSON. kNotFound "plane.no_key_manifest".
Result<std::string> KeyManifestText(const std::string& dir);

}  // namespace writ::plane
