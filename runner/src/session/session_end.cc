// Collect output -> dismantle the isolation, verified.
#include <algorithm>

#include "journal/unnoted.h"
#include "session/session.h"
#include "writ/base/encoding.h"
#include "writ/base/log.h"
#include "writ/protocol/events.h"
#include "writ/runner/own_modes.h"

namespace writ::runner {

using protocol::Disclosure;
using protocol::FailureClass;

namespace events = protocol::events;

void Session::Collect() {
  workspace::CollectOptions options;
  options.materialized = &*materialized_;
  options.tree = dirs_->tree.get();
  options.xattrs = OverlayXattrsOf(*measured_);
  options.limits.max_changed_files = services_.config.limits.max_changed_files;
  options.limits.max_diff_bytes = services_.config.limits.max_diff_bytes;
  options.limits.max_file_bytes = services_.config.limits.max_diff_bytes;
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
  CollectDeclared();
  TellOfCompany();
  Tell(runner::Step::kCollected);
}

// L47. What such a job could do to this run's files cannot be told from the run's own work.
void Session::TellOfCompany() {
  const workspace::CheckoutCache::Exposures now = services_.checkouts.Exposed();
  const std::uint64_t own = exposure_ ? 1 : 0;
  if (exposed_before_.now == 0 && now.begun - exposed_before_.begun <= own) return;
  chain_->EmitOurs(events::Finding(
      "isolation.shared_uid",
      "a job of the process tier ran meanwhile with the runner's own uid: it could change modes, "
      "times and attributes of this run's files (not their content)"));
}

// The job is gone. Its next one, and this runner, need what it may have taken away.
void Session::EndExposure() {
  if (!leaks_.empty()) exposure_->StayForGood();
  exposure_.reset();
  const std::vector<std::string> mended = MendOwnModes(services_.config);
  for (const std::string& path : mended)
    log::Warn("runner.mode_mended", "a mode that was taken away from the runner was set back",
              {{"path", path}});
  if (mended.empty()) return;
  chain_->EmitOurs(events::Finding(
      "isolation.modes_changed",
      "modes of " + std::to_string(mended.size()) +
          " of the runner's own files were changed while the job ran, and were set back"));
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
  if (exposure_) EndExposure();
  if (!had_job) return;
  std::optional<std::uint64_t> duration;
  if (outcome_)
    duration = static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::milliseconds>(outcome_->duration).count());
  chain_->EmitOurs(events::SessionClosed(leaks_, duration));
  if (!leaks_.empty()) {
    services_.bus.Publish(LeaksFound{Ref(), leaks_.size()});
    if (journal_)
      LogUnnoted(journal_->NoteLeft(), claim_.run_id,
                 "that something is left could not be noted: the next start uses the slot again");
  }
  if (proxy_ && proxy_->report()) {
    const egress::ClosingReport& report = *proxy_->report();
    services_.bus.Publish(ProxyDecided{Ref(), report.counters.allowed, report.counters.denied});
  }
  if (!leaks_.empty())
    Fail(RunFailure{FailureClass::kSessionFailed, "session.leak",
                    "the isolation could not be dismantled: " + leaks_.front(),
                    "see the receipt's session.closed"});
  Tell(runner::Step::kDismantled);
}

}  // namespace writ::runner
