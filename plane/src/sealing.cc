#include "sealing.h"

#include <sodium.h>

#include <vector>

#include "writ/base/encoding.h"

namespace writ::plane {
namespace {

constexpr std::string_view kVersion = "writ.seal.v1\n";

const unsigned char* Bytes(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

// The key for one (name, scope): BLAKE2b of both, keyed with the directory's key.
Secret RowKey(const Secret& key, std::string_view name, std::string_view scope) {
  std::string context = std::string(kVersion) + std::string(name) + "\n" + std::string(scope);
  std::string out(crypto_secretbox_KEYBYTES, '\0');
  crypto_generichash(reinterpret_cast<unsigned char*>(out.data()), out.size(), Bytes(context),
                     context.size(), Bytes(key.Reveal()), key.size());
  return Secret::Consume(out);
}

}  // namespace

std::string Seal(const Secret& key, std::string_view name, std::string_view scope,
                 const Secret& value) {
  Secret row = RowKey(key, name, scope);
  std::string nonce = RandomBytes(crypto_secretbox_NONCEBYTES);
  std::string box(crypto_secretbox_MACBYTES + value.size(), '\0');
  crypto_secretbox_easy(reinterpret_cast<unsigned char*>(box.data()), Bytes(value.Reveal()),
                        value.size(), Bytes(nonce), Bytes(row.Reveal()));
  return nonce + box;
}

Result<Secret> Unseal(const Secret& key, std::string_view name, std::string_view scope,
                      std::string_view sealed) {
  Error damaged{.kind = ErrorKind::kIntegrity,
                .code = "secret.unsealable",
                .message = "the stored value of secret \"" + std::string(name) +
                           "\" does not open under this directory's key",
                .hint = "set the secret anew, or restore keys/secrets.key"};
  constexpr std::size_t kOverhead = crypto_secretbox_NONCEBYTES + crypto_secretbox_MACBYTES;
  if (sealed.size() < kOverhead) return damaged;
  Secret row = RowKey(key, name, scope);
  std::string value(sealed.size() - kOverhead, '\0');
  std::string_view box = sealed.substr(crypto_secretbox_NONCEBYTES);
  if (crypto_secretbox_open_easy(reinterpret_cast<unsigned char*>(value.data()), Bytes(box),
                                 box.size(), Bytes(sealed), Bytes(row.Reveal())) != 0) {
    return damaged;
  }
  return Secret::Consume(value);
}

}  // namespace writ::plane
