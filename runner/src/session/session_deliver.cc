// Deliver the receipt; what the plane does not take is parked with the reason.
#include "session/parked.h"
#include "session/session.h"
#include "writ/base/log.h"
#include "writ/protocol/bundle.h"

namespace writ::runner {

namespace {

Error ErrorOf(LeaseLoss loss) {
  const char* code = loss == LeaseLoss::kRevoked     ? "plane.revoked"
                     : loss == LeaseLoss::kForgotten ? "plane.forgotten"
                                                     : "plane.run_ended";
  const char* what = loss == LeaseLoss::kRevoked     ? "this runner was revoked"
                     : loss == LeaseLoss::kForgotten ? "the plane does not know the run any more"
                                                     : "the plane had closed the run";
  return Error{.kind = ErrorKind::kConflict, .code = code, .message = what};
}

}  // namespace

Status Session::Deliver(const json::Value& receipt) {
  if (lease_) {
    if (auto loss = lease_->final_loss()) return ErrorOf(*loss);
  }
  WRIT_ASSIGN([[maybe_unused]] RunSignals signals,
              chain_->Flush(plane_, claim_.run_id, ticket_.Get(), services_.config.call_timeout, {},
                            UnlessNoted::kSend));
  Secret token = ticket_.Get();
  Result<std::optional<json::Value>> done =
      plane_.Complete(claim_.run_id, token,
                      vocabulary_ == Vocabulary::kExtended ? &services_.identity.token : nullptr,
                      receipt, CallDeadline(), {});
  if (!done) return std::move(done).error();
  return {};
}

Status Session::DeliverLate(const json::Value& receipt) {
  json::Array list;
  for (const protocol::Event& event : chain_->Events()) list.push_back(event.ToJson());
  Secret token = ticket_.Get();
  Status stored = plane_.Late(claim_.run_id, &token, services_.identity.token, std::move(list),
                              receipt, CallDeadline(), {});
  if (stored) {
    log::Info("runner.late", "the plane keeps the finished run as a late bundle",
              {{"run", claim_.run_id.text()}});
  } else {
    log::Warn("runner.late", "the plane did not take the finished run as a late bundle",
              {{"run", claim_.run_id.text()}, {"code", stored.error().code}});
  }
  return stored;
}

bool Session::Park(const json::Value& receipt, const Error& why) {
  json::Array list;
  for (const protocol::Event& event : chain_->Events()) list.push_back(event.ToJson());
  json::Object bundle{
      {"version", protocol::kBundleVersion},
      {"contract", claim_.contract},
      {"receipt", receipt},
      {"events", std::move(list)},
      {"keys", json::Object{{"planePublicKeyPem", services_.plane_key.ToPem()},
                            {"runnerPublicKeyPem", services_.identity.key.Public().ToPem()}}}};
  ParkReason reason{why.code, why.message, ""};
  // Not delivered does not mean not wanted: beside the plane's own receipt it is kept as late.
  if (why.code == "plane.run_ended") {
    Status late = DeliverLate(receipt);
    reason.late = late ? "stored" : late.error().code;
  }
  Status parked = ParkBundle(services_.config.state_dir, claim_.run_id, std::move(bundle), reason);
  const char* what =
      parked
          ? "the plane did not take the receipt; the bundle is kept in the state directory under "
            "parked/"
          : "the plane did not take the receipt, and the bundle could not be kept either; the next "
            "start of this runner tries again";
  log::Error("runner.parked", what,
             {{"run", claim_.run_id.text()}, {"code", why.code}, {"error", why.ToString()}});
  if (!parked)
    log::Error("runner.not_parked", parked.error().message,
               {{"run", claim_.run_id.text()}, {"code", parked.error().code}});
  if (parked) Tell(runner::Step::kParked);
  return parked.has_value();
}

}  // namespace writ::runner
