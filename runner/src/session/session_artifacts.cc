// The declared output files of a run: taken while the workspace is there, uploaded with the rest.
#include <fcntl.h>

#include "session/session.h"
#include "writ/base/paths.h"
#include "writ/protocol/events.h"

namespace writ::runner {

void Session::CollectDeclared() {
  const protocol::Execution execution = contract_->EffectiveExecution();
  if (execution.artifacts.empty() && !execution.result) return;
  UniqueFd base;  // of an overlay: the lower layer, ours alone
  if (overlay_) {
    Result<UniqueFd> opened = OpenDirectory(materialized_->lower_directory());
    if (!opened) return Fail(FailureFrom(opened.error(), protocol::FailureClass::kCaptureFailed));
    base = std::move(*opened);
  }
  ArtifactOrder order(overlay_ ? workspace::MergedTree::Overlay(dirs_->tree.get(), base.get(),
                                                                OverlayXattrsOf(*measured_))
                               : workspace::MergedTree::Plain(dirs_->tree.get()));
  order.out = dirs_->out.get();
  order.limits = services_.config.artifacts;
  // Where nothing is told of the files, only whether the result is one is looked at.
  if (plan_->disclosure != protocol::Disclosure::kNone) order.globs = execution.artifacts;
  if (execution.result) order.result = execution.result->text();
  if (services_.config.uid_range) order.owner = services_.config.uid_range->first + slot_;
  order.redactor = &*redactor_;
  if (services_.config.grants.redact_diffs) order.secret_in_file = SecretInFile::kRedactText;
  order.clock = &services_.clock;
  order.stop = kill_job_.get_token();
  ArtifactSet set = CollectArtifacts(order);
  for (const ArtifactFinding& finding : set.findings) {
    const std::string path = redactor_->Redact(workspace::PathForRecord(finding.path));
    chain_->EmitOurs(protocol::events::Finding(
        finding.code, finding.message,
        path.empty() ? std::nullopt : std::optional<std::string_view>(path)));
  }
  if (set.failure) Fail(std::move(*set.failure));
  if (plan_->disclosure == protocol::Disclosure::kNone) return;
  for (const ArtifactFile& file : set.files) {
    JournalUpload upload{protocol::ArtifactKind::kFile,
                         std::string(protocol::kDataClassArtifact),
                         file.digest,
                         file.bytes,
                         false,
                         redactor_->Redact(workspace::PathForRecord(file.path))};
    // An older plane gets the name in the trace only.
    if (vocabulary_ == Vocabulary::kBase)
      chain_->EmitOurs(
          protocol::events::FileArtifactCreated(upload.digest, upload.path, upload.bytes));
    declared_.push_back(std::move(upload));
  }
}

Result<std::string_view> Session::BytesOf(const protocol::Digest& digest) {
  if (auto kept = artifacts_.find(digest); kept != artifacts_.end())
    return std::string_view(kept->second);
  WRIT_ASSIGN(UniqueFd file, OpenBeneath(dirs_->out.get(), digest.ToHex(), O_RDONLY));
  WRIT_ASSIGN(mapped_, MappedFile::Open(file));
  return mapped_.bytes();
}

}  // namespace writ::runner
