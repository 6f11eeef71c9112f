#include "pinned_keys.h"

namespace writ::cli {

protocol::VerifyOptions PinnedByPlane(plane::Plane& plane, std::string_view bundle_text) {
  protocol::VerifyOptions options;
  if (auto key = protocol::PublicKey::FromPem(plane.public_key_pem())) options.plane_key = *key;
  auto bundle = json::Parse(bundle_text, {.max_depth = 64, .max_bytes = kMaxBundleBytes});
  auto runners = plane.Runners();
  if (!bundle || !runners) return options;
  const json::Value* keys = bundle->Find("keys");
  const json::Value* receipt = bundle->Find("receipt");
  const json::Value* runner = receipt != nullptr ? receipt->Find("runner") : nullptr;
  if (keys == nullptr || runner == nullptr) return options;
  auto key = protocol::PublicKey::FromPem(keys->FindString("runnerPublicKeyPem").value_or(""));
  if (!key) return options;
  for (const plane::RunnerInfo& known : *runners) {
    if (known.runner_id == runner->FindString("runnerId") && known.key_id == key->Id().text())
      options.runner_key = *key;
  }
  return options;
}

}  // namespace writ::cli
