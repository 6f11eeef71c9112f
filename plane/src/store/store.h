// The plane's state: a database of base/sqlite with the plane's schema.
#pragma once

#include <memory>
#include <string>

#include "store/database.h"
#include "writ/base/sqlite/store.h"

namespace writ::plane::store {

using sqlite::Store;

// The version of the schema that this build writes. An older file is migrated; a newer one is
// refused ("store.newer").
int SchemaVersion();

Result<std::unique_ptr<Store>> OpenStore(const std::string& path);

}  // namespace writ::plane::store
