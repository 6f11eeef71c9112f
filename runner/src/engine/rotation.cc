#include "engine/rotation.h"

#include "writ/base/encoding.h"
#include "writ/base/log.h"

namespace writ::runner {

Status RotateIdentity(const RunnerConfig& config, const Clock& clock, PlaneClient& plane,
                      Identity& identity, std::stop_token stop) {
  WRIT_ASSIGN(IdentityStore store, IdentityStore::Open(config.state_dir));
  WRIT_ASSIGN(protocol::PrivateKey next, store.LoadOrCreateNextKey());
  const protocol::PublicKey next_public = next.Public();
  const std::string proof =
      Base64Encode(protocol::Sign(identity.key, "writ-rotate:" + next_public.Id().text()));
  WRIT_ASSIGN(Secret token, plane.Rotate(identity.token, next_public.ToPem(), proof,
                                         Deadline::After(clock, config.call_timeout), stop));
  WRIT_TRY(store.CommitNextKey(token));
  log::Info("runner.rotated", "this runner has another key",
            {{"oldKey", identity.key.Public().Id().text()}, {"newKey", next_public.Id().text()}});
  identity.key = std::move(next);
  identity.token = std::move(token);
  return {};
}

}  // namespace writ::runner
