// Collect output -> dismantle the isolation, verified -> redact and upload by disclosure.
#include <algorithm>

#include "session/session.h"
#include "writ/base/encoding.h"
#include "writ/base/log.h"
#include "writ/protocol/canonical.h"
#include "writ/protocol/events.h"

namespace writ::runner {

using protocol::ArtifactKind;
using protocol::Disclosure;
using protocol::FailureClass;

namespace events = protocol::events;

void Session::Collect() {
  workspace::CollectOptions options;
  options.materialized = &*materialized_;
  options.tree = dirs_->tree.get();
  options.limits.max_changed_files = services_.config.limits.max_changed_files;
  options.limits.max_diff_bytes = services_.config.limits.max_diff_bytes;
  if (services_.config.uid_range) options.owner = services_.config.uid_range->first + slot_;
  const Redactor& redactor = *redactor_;
  if (!redactor.empty())
    options.holds_secret = [&redactor](std::string_view bytes) {
      return redactor.FindIn(bytes).has_value();
    };
  Result<workspace::Collected> collected = workspace::Collect(options);
  if (!collected) return Fail(FailureFrom(collected.error(), FailureClass::kCaptureFailed));
  collected_ = std::move(*collected);
  if (plan_->disclosure != Disclosure::kNone) {
    for (const workspace::ChangedFile& file : collected_->changed) {
      std::string path = redactor.Redact(workspace::PathForRecord(file.path));
      std::optional<std::string> raw;
      if (!workspace::IsUtf8(file.path) && path == workspace::PathForRecord(file.path))
        raw = Base64Encode(file.path);
      std::optional<std::string_view> raw_view;
      if (raw) raw_view = file.path;
      chain_->Emit(events::FileChanged(path, file.content, raw_view));
    }
  }
  for (const workspace::Finding& finding : collected_->findings) {
    std::string path = redactor.Redact(workspace::PathForRecord(finding.path));
    chain_->EmitOurs(
        events::Finding(finding.code, redactor.Redact(finding.detail),
                        path.empty() ? std::nullopt : std::optional<std::string_view>(path)));
  }
  if (collected_->secret_found && plan_->secret_in_diff == SecretInDiff::kFailRun) {
    std::string path = "a changed file";
    for (const workspace::Finding& finding : collected_->findings)
      if (finding.code == "workspace.secret_in_output") {
        path = redactor.Redact(workspace::PathForRecord(finding.path));
        break;
      }
    Fail(RunFailure{
        FailureClass::kPolicyDenied, "output.secret",
        "the value of a released secret stands in " + path + ": its diff was not uploaded",
        "keep secrets out of the workspace, or let the operator set grants.redactDiffs"});
  }
  Tell(runner::Step::kCollected);
}

// L37: every step is tried, what is left is said.
void Session::Dismantle() {
  const bool had_job = job_ != nullptr;
  std::vector<UndoStack::Failure> failures = undo_.Unwind();
  for (const UndoStack::Failure& failure : failures)
    log::Error("runner.dismantle", "a session could not be dismantled cleanly",
               {{"run", claim_.run_id.text()},
                {"what", failure.what},
                {"error", failure.error.ToString()}});
  if (!had_job) return;
  std::optional<std::uint64_t> duration;
  if (outcome_)
    duration = static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::milliseconds>(outcome_->duration).count());
  chain_->EmitOurs(events::SessionClosed(leaks_, duration));
  if (!leaks_.empty())
    Fail(RunFailure{FailureClass::kSessionFailed, "session.leak",
                    "the isolation could not be dismantled: " + leaks_.front(),
                    "see the receipt's session.closed"});
  Tell(runner::Step::kDismantled);
}

bool Session::UploadArtifact(ArtifactKind kind, std::string_view data_class,
                             std::string_view bytes) {
  if (bytes.empty()) return true;
  protocol::Digest digest = protocol::Sha256(bytes);
  const bool only_hashes = plan_->disclosure == Disclosure::kMetadataOnly;
  if (!only_hashes) {
    Status put =
        plane_.PutBlob(bytes, ticket_.Get(),
                       Deadline::After(services_.clock, services_.config.transfer_timeout), {});
    if (!put) {
      Fail(FailureFrom(std::move(put).error().With("while uploading the run's " +
                                                   std::string(protocol::Word(kind))),
                       FailureClass::kTransferFailed));
      return false;
    }
  }
  chain_->Emit(events::ArtifactCreated(kind, digest));
  if (!only_hashes)
    chain_->Emit(events::BoundaryCrossed(protocol::Direction::kOut, digest, data_class));
  return true;
}

void Session::Upload() {
  if (!plan_ || !redactor_ || plan_->disclosure == Disclosure::kNone) return;
  bool reachable = true;
  if (collected_ && (!collected_->secret_found || plan_->secret_in_diff == SecretInDiff::kRedact)) {
    const bool redact = collected_->secret_found;
    reachable = UploadArtifact(ArtifactKind::kDiff, protocol::kDataClassCodeDiff,
                               redact ? redactor_->Redact(collected_->diff) : collected_->diff);
    // Input -> final, for a pull onto the captured state; planes without the extension expect one
    // diff.
    if (reachable && vocabulary_ == Vocabulary::kExtended)
      reachable = UploadArtifact(ArtifactKind::kDiff, protocol::kDataClassCodeDelta,
                                 redact ? redactor_->Redact(collected_->delta) : collected_->delta);
  }
  for (const auto* log : {&out_log_, &err_log_}) {
    if (reachable && *log)
      reachable = UploadArtifact(ArtifactKind::kLog, protocol::kDataClassSessionLog, (*log)->bytes);
  }
  if (reachable && vocabulary_ == Vocabulary::kBase && started_ &&
      plan_->disclosure != Disclosure::kMetadataOnly) {
    json::Object trace{{"version", "writ.trace.v1"},
                       {"runId", claim_.run_id},
                       {"environment", EnvironmentRecord()},
                       {"events", chain_->Trace()}};
    UploadArtifact(ArtifactKind::kTrace, protocol::kDataClassArtifact,
                   json::CanonicalBytes(std::move(trace)));
  }
  if (reachable) Tell(runner::Step::kUploaded);
}

}  // namespace writ::runner
