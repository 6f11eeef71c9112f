// The key that signs the snapshots of one directory. Why one of its own: docs/decisions/0009.
#pragma once

#include "writ/base/result.h"
#include "writ/protocol/digest.h"
#include "writ/protocol/json.h"
#include "writ/protocol/keys.h"

namespace writ::backends::microvm {

// Of the store's directory `dir`; made where there is none. kDenied "snapshot.key_mode" where
// others can read it, kIntegrity "snapshot.key" where it is none.
Result<protocol::PrivateKey> OpenSnapshotKey(int dir);
// Without making one: kNotFound "snapshot.no_key".
Result<protocol::PrivateKey> ReadSnapshotKey(int dir);

// {alg, keyId, sig} over `id`, bound to what it signs.
json::Value SignSnapshot(const protocol::PrivateKey& key, const protocol::Digest& id);
// kIntegrity "snapshot.foreign_key": signed by another key; "snapshot.bad_signature": by none.
Status CheckSnapshotSignature(const protocol::PublicKey& key, const protocol::Digest& id,
                              const json::Value& signature);

}  // namespace writ::backends::microvm
