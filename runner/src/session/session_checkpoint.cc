// Checkpoints of this run's workspace, and the one of another run that this run's is made from.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/checkpoint_taking.h"
#include "session/session.h"
#include "writ/base/log.h"
#include "writ/base/paths.h"
#include "writ/protocol/events.h"

namespace writ::runner {

using protocol::FailureClass;

namespace events = protocol::events;

namespace {
constexpr char kTaken[] = "checkpoint";  // in private/out
constexpr char kFrom[] = "checkpoint";   // beside private/: the job's machine reads it
}  // namespace

// In the thread of whoever asked for it. At the plane with its event before it is told of: who
// hears its id can fork it.
Result<Checkpoint> Session::KeepCheckpoint(
    const std::function<Result<Checkpoint>(int file)>& take) {
  WRIT_ASSIGN(UniqueFd file,
              OpenBeneath(dirs_->out.get(), kTaken, O_RDWR | O_CREAT | O_TRUNC, 0600));
  ::unlinkat(dirs_->out.get(), kTaken, 0);
  WRIT_ASSIGN(const Checkpoint taken, take(file.get()));
  WRIT_ASSIGN(const MappedFile mapped, MappedFile::Open(file));
  WRIT_ASSIGN(PlaneClient plane, PlaneClient::Open(services_.config.plane, services_.clock));
  const Deadline deadline = Deadline::After(services_.clock, services_.config.transfer_timeout);
  if (vocabulary_ == Vocabulary::kExtended) {
    WRIT_ASSIGN([[maybe_unused]] const BlobSent sent,
                plane.SendBlob(
                    mapped.bytes(), taken.digest, ticket_.Get(), [](std::uint64_t) {}, deadline,
                    halt_.get_token()));
  } else {
    WRIT_TRY(plane.PutBlob(mapped.bytes(), ticket_.Get(), deadline, halt_.get_token()));
  }
  chain_->Emit(events::ArtifactCreated(protocol::ArtifactKind::kBundle, taken.digest));
  chain_->Emit(events::BoundaryCrossed(protocol::Direction::kOut, taken.digest,
                                       protocol::kDataClassArtifact));
  chain_->Emit(events::CheckpointCreated(taken.digest.ToHex(), protocol::kCheckpointTier));
  Result<RunSignals> told = chain_->Flush(plane, claim_.run_id, ticket_.Get(),
                                          services_.config.call_timeout, halt_.get_token());
  if (!told)  // it is in the chain, and goes with the next heartbeat
    log::Warn("runner.checkpoint_untold", "the plane has not heard of a checkpoint yet",
              {{"run", claim_.run_id.text()}, {"code", told.error().code}});
  return taken;
}

// The contract names it, and its name is its digest.
std::optional<RunFailure> Session::FetchCheckpoint() {
  const Result<protocol::Digest> digest =
      protocol::Digest::Parse(contract_->continuation->checkpoint_id);
  if (!digest) return FailureFrom(digest.error(), FailureClass::kCapabilityMismatch);
  const std::string name = dirs_->name + "/" + kFrom;
  Result<UniqueFd> file =
      OpenBeneath(services_.sessions_dir, name, O_RDWR | O_CREAT | O_EXCL, 0400);
  if (!file) return FailureFrom(file.error(), FailureClass::kSessionFailed);
  const Result<std::uint64_t> got =
      plane_.GetBlob(*digest, ticket_.Get(), file->get(), services_.config.limits.max_blob_bytes,
                     Deadline::After(services_.clock, services_.config.transfer_timeout),
                     halt_.get_token(), [](std::uint64_t) {});
  if (!got) {
    if (got.error().kind == ErrorKind::kCancelled && halt_.stop_requested()) return std::nullopt;
    return FailureFrom(got.error(), FailureClass::kTransferFailed);
  }
  const backends::Identity& job = plan_->job.identity;
  if (services_.config.uid_range && ::fchown(file->get(), job.uid, job.gid) != 0)
    return FailureFrom(
        SysError(errno, "session.checkpoint", "could not give the checkpoint to the job's machine"),
        FailureClass::kSessionFailed);
  plan_->job.checkpoint = services_.sessions_path + "/" + name;
  plan_->job.read_only_trees.push_back(plan_->job.checkpoint);
  chain_->EmitOurs(
      events::BoundaryCrossed(protocol::Direction::kIn, *digest, protocol::kDataClassWorkspace));
  return std::nullopt;
}

}  // namespace writ::runner
