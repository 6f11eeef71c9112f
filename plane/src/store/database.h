// The database's words, under the plane's own name.
#pragma once

#include "writ/base/sqlite/database.h"

namespace writ::plane::store {

using sqlite::BlobValue;
using sqlite::Database;
using sqlite::Query;

}  // namespace writ::plane::store
