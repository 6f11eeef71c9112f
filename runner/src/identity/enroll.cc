#include "writ/runner/enroll.h"

#include <algorithm>

#include "writ/runner/plane_client.h"

namespace writ::runner {
namespace {
// A start does not wait long for what is an aid.
constexpr std::chrono::milliseconds kKeyCheckBound{3000};
}  // namespace

Result<Identity> Enroll(const RunnerConfig& config, const Secret& enroll_token, const Clock& clock,
                        std::stop_token stop) {
  WRIT_ASSIGN(IdentityStore store, IdentityStore::Open(config.state_dir));
  WRIT_ASSIGN(std::optional<Identity> known, store.Load());
  if (known) {
    if (known->pool == config.pool) return std::move(*known);
    return Error{
        .kind = ErrorKind::kConflict,
        .code = "runner.pool_changed",
        .message = "this runner is enrolled in pool " + known->pool + ", not in " + config.pool,
        .hint = "use a state directory of its own for each pool"};
  }
  WRIT_ASSIGN(protocol::PrivateKey key, store.LoadOrCreateKey());
  WRIT_ASSIGN(PlaneClient plane, PlaneClient::Open(config.plane, clock));
  Result<Enrolled> enrolled = plane.Enroll(enroll_token, key.Public().ToPem(), config.pool,
                                           Deadline::After(clock, config.call_timeout), stop);
  if (!enrolled) {
    Error error = std::move(enrolled).error();
    if (error.code == "plane.refused" || error.code == "plane.unauthorized") {
      error.code = "runner.enroll_refused";
      error.hint =
          "where it is the token: it may be wrong, expired or used by another key; ask for a new "
          "one (writ "
          "enroll-token)";
    }
    return std::move(error).With("while enrolling this runner");
  }
  WRIT_TRY(store.SaveEnrolment(enrolled->runner_id, config.pool, enrolled->runner_token));
  return Identity{std::move(key), enrolled->runner_id, config.pool,
                  std::move(enrolled->runner_token)};
}

Status CheckPlaneKey(const RunnerConfig& config, const Clock& clock, std::stop_token stop) {
  WRIT_ASSIGN(auto pinned, protocol::PublicKey::FromPem(config.plane_key_pem));
  WRIT_ASSIGN(PlaneClient plane, PlaneClient::Open(config.plane, clock));
  const auto bound = [&] {
    return Deadline::After(clock, std::min(config.call_timeout, kKeyCheckBound));
  };
  const auto info = plane.Health(bound(), stop);
  if (!info || !info->extended) return {};
  const auto keys = plane.SigningKeys(bound(), stop);
  if (!keys || keys->Find(pinned.Id()) != nullptr) return {};
  return Error{.kind = ErrorKind::kIntegrity,
               .code = "runner.plane_key_unknown",
               .message = "the plane at " + config.plane.url +
                          " signs with other keys than the pinned one (" + pinned.Id().text() + ")",
               .hint =
                   "take the plane's own keys/plane.pub.pem for --plane-key; where the address "
                   "is right and the plane was not made anew, somebody stands between"};
}

}  // namespace writ::runner
