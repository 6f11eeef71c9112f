// Sealing: secret values at rest (L8). XSalsa20-Poly1305 (libsodium secretbox) under a key that is
// derived from the directory's secrets.key, with name and scope bound in, so that a sealed value
// moved to another row does not open.
#pragma once

#include <string>
#include <string_view>

#include "writ/base/result.h"
#include "writ/base/secret.h"

namespace writ::plane {

std::string Seal(const Secret& key, std::string_view name, std::string_view scope,
                 const Secret& value);
// kIntegrity "secret.unsealable" for a wrong key or changed bytes.
Result<Secret> Unseal(const Secret& key, std::string_view name, std::string_view scope,
                      std::string_view sealed);

}  // namespace writ::plane
