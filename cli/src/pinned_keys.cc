#include "pinned_keys.h"

#include "writ/base/file.h"

namespace writ::cli {

Result<protocol::PublicKey> ReadPublicKey(const std::string& path) {
  WRIT_ASSIGN(std::string pem, ReadFile(path, 16384));
  auto key = protocol::PublicKey::FromPem(pem);
  if (!key) return std::move(key).error().With("reading the public key " + path);
  return key;
}

protocol::VerifyOptions PinnedByPlane(plane::Plane& plane, std::string_view bundle_text) {
  protocol::VerifyOptions options;
  auto bundle = json::Parse(bundle_text, {.max_depth = 64, .max_bytes = kMaxBundleBytes});
  // The key that issued the contract, where it is or was this plane's; else the one in use.
  const json::Value* contract = bundle ? bundle->Find("contract") : nullptr;
  const json::Value* issuer = contract != nullptr ? contract->Find("issuer") : nullptr;
  auto pem = plane.PublicKeyPemOf(
      std::string(issuer != nullptr ? issuer->FindString("keyId").value_or("") : ""));
  auto plane_key = protocol::PublicKey::FromPem(pem ? *pem : plane.public_key_pem());
  if (plane_key) options.plane_key = *plane_key;
  auto runners = plane.Runners();
  if (!bundle || !runners) return options;
  const json::Value* keys = bundle->Find("keys");
  const json::Value* receipt = bundle->Find("receipt");
  const json::Value* runner = receipt != nullptr ? receipt->Find("runner") : nullptr;
  if (keys == nullptr || runner == nullptr) return options;
  auto key = protocol::PublicKey::FromPem(keys->FindString("runnerPublicKeyPem").value_or(""));
  if (!key) return options;
  for (const plane::RunnerInfo& known : *runners) {
    if (known.runner_id != runner->FindString("runnerId")) continue;
    bool its_own = known.key_id == key->Id().text();
    for (const plane::RunnerKey& before : known.retired_keys)
      its_own = its_own || before.key_id == key->Id().text();
    if (its_own) options.runner_key = *key;
  }
  return options;
}

}  // namespace writ::cli
