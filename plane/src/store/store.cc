#include "store/store.h"

#include "store/schema.h"

namespace writ::plane::store {

int SchemaVersion() {
  return static_cast<int>(kMigrations.size());
}

Result<std::unique_ptr<Store>> OpenStore(const std::string& path) {
  return Store::Open(path, kMigrations);
}

}  // namespace writ::plane::store
