// Sha1: git's object hash, by libcrypto's plain functions (SHA-NI; no provider is looked up).
#pragma once

#include <openssl/opensslv.h>

#include <string_view>

#include "writ/workspace/object_id.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
#include <openssl/sha.h>

namespace writ::workspace {

class Sha1 {
 public:
  Sha1() { ::SHA1_Init(&state_); }
  void Update(std::string_view bytes) { ::SHA1_Update(&state_, bytes.data(), bytes.size()); }
  ObjectId Finish() {
    ObjectId id;
    ::SHA1_Final(id.bytes.data(), &state_);
    return id;
  }

 private:
  SHA_CTX state_;
};

}  // namespace writ::workspace
#pragma GCC diagnostic pop
