// The admin chain: every act of an administrator as an entry of a hash chain of its own.
//
// An entry has the form of a run's event (protocol.md section 2); prev of entry 0 is the hash of
// {chain:"admin", planeKeyId}. The export carries the entries and a head that the plane signs, so
// that a cut tail shows. Entries name things (a policy's hash, a principal, a secret), never
// values.
#pragma once

#include <string>

#include "store/database.h"
#include "writ/base/clock.h"
#include "writ/plane/types.h"
#include "writ/protocol/event.h"

namespace writ::plane {

protocol::Digest AdminGenesis(std::string_view plane_key_id);

// Inside a transaction of the store, with the act itself. `fields` are the event's members after
// type and actor.
Status AppendAdminEntry(store::Database& db, std::string_view plane_key_id, WallTime now,
                        std::string_view type, std::string_view actor, json::Object fields);

// Where the chain stands.
Result<protocol::ChainHead> AdminHead(store::Database& db, std::string_view plane_key_id);

}  // namespace writ::plane
