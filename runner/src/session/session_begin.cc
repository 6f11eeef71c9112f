// Claim -> verify contract -> plan -> materialize.
#include <fcntl.h>
#include <unistd.h>

#include "events/progress_meter.h"
#include "session/session.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"
#include "writ/protocol/events.h"
#include "writ/runner/decide.h"

namespace writ::runner {

using protocol::FailureClass;

namespace {

// The plane's clock may be a little behind what it signed.
constexpr std::chrono::milliseconds kExpiryAllowance{60'000};

FailureClass ClassOfCheck(const Error& error) {
  return error.kind == ErrorKind::kDenied ? FailureClass::kPolicyDenied
                                          : FailureClass::kAttestationFailed;
}

// Where the chain stands as far as the plane told, even where it told nonsense: the refusal still
// extends something.
protocol::EventChain BestEffortChain(const protocol::Digest& contract_hash,
                                     const std::vector<protocol::Event>& events) {
  if (events.empty()) return protocol::EventChain(contract_hash);
  const protocol::Event& last = events.back();
  return protocol::EventChain(protocol::ChainHead{last.seq + 1, last.hash, last.ts});
}

}  // namespace

// L1: nothing else is touched before this has said yes.
std::optional<RunFailure> Session::Verify() {
  Result<std::vector<protocol::Event>> events = protocol::Event::ParseAll(claim_.events);
  std::vector<protocol::Event> before =
      events ? std::move(*events) : std::vector<protocol::Event>();
  Result<protocol::EventChain> chain = protocol::EventChain::FromEvents(contract_hash_, before);
  Status noted;
  if (!journal_) {
    Result<std::unique_ptr<RunJournal>> journal =
        services_.journal.Begin(JournalClaim{claim_.run_id, claim_.contract, claim_.events,
                                             vocabulary_ == Vocabulary::kExtended, slot_},
                                claim_.claim_token);
    if (journal) {
      journal_ = std::move(*journal);
    } else {
      noted = std::move(journal).error();
    }
  }
  chain_.emplace(services_.clock, chain ? *chain : BestEffortChain(contract_hash_, before), before,
                 vocabulary_, journal_.get());
  Record(before_claim_);
  if (!noted) return FailureFrom(noted.error(), FailureClass::kSessionFailed);

  Result<protocol::Contract> contract = protocol::Contract::Parse(claim_.contract);
  if (!contract) return FailureFrom(contract.error(), FailureClass::kCapabilityMismatch);
  WallTime now =
      services_.clock.Now() + plane_.clock_offset().value_or(std::chrono::milliseconds(0));
  protocol::ContractExpectations expected;
  expected.plane_key = &services_.plane_key;
  if (auto pool = protocol::PoolName::Parse(services_.config.pool)) expected.pool = *pool;
  expected.run_id = claim_.run_id;
  expected.now = WallTime{now.unix_ms - kExpiryAllowance.count()};
  if (Status ok = protocol::CheckForRun(*contract, expected); !ok) {
    contract_ = std::move(*contract);
    return FailureFrom(ok.error(), ClassOfCheck(ok.error()));
  }
  contract_ = std::move(*contract);
  if (!events) return FailureFrom(events.error(), FailureClass::kAttestationFailed);
  if (!chain) return FailureFrom(chain.error(), FailureClass::kAttestationFailed);
  if (before.empty())
    return RunFailure{FailureClass::kAttestationFailed, "claim.no_events",
                      "the plane gave no events with the contract, not even run.created",
                      "update the plane"};
  verified_ = true;
  Tell(runner::Step::kVerified);
  return std::nullopt;
}

std::optional<RunFailure> Session::Decide() {
  const protocol::Digest& bundle = contract_->workspace.bundle_hash;
  SessionPlaces places;
  places.session = services_.sessions_path + "/" + SessionDirs::NameFor(claim_.run_id.text());
  places.objects_directory = services_.cache.ObjectsDirectory(bundle);
  const workspace::CheckoutKey key{.bundle = bundle,
                                   .base_ref = contract_->workspace.base_ref.text(),
                                   .objects_directory = places.objects_directory};
  places.checkout = services_.checkouts.TreePath(key);
  places.kept = services_.checkouts.KeptPath(key);
  Decision decision;
  auto refused = runner::Decide({.contract = *contract_,
                                 .config = services_.config,
                                 .registry = services_.registry,
                                 .places = std::move(places),
                                 .plane_addresses = services_.plane_addresses,
                                 .machine = machine_,
                                 .slot = slot_},
                                decision);
  backend_ = decision.backend;
  plan_ = std::move(decision.plan);
  measured_ = decision.measured;
  overlay_ = std::move(decision.overlay);
  why_plain_ = std::move(decision.why_plain);
  if (plan_) plan_hash_ = plan_->Hash();
  if (refused) return refused;
  Tell(runner::Step::kPlanned);
  return std::nullopt;
}

std::optional<RunFailure> Session::Materialize() {
  Result<SessionDirs> dirs =
      SessionDirs::Make(services_.sessions_dir, services_.sessions_path, claim_.run_id.text());
  if (!dirs) {
    // Half made is ours to remove; one that was there already is somebody else's.
    if (dirs.error().kind != ErrorKind::kConflict)
      services_.cleaner.Discard(SessionDirs::NameFor(claim_.run_id.text()));
    return FailureFrom(dirs.error(), FailureClass::kSessionFailed);
  }
  dirs_ = std::move(*dirs);
  if (Status noted = journal_->NoteSession(dirs_->name, std::string(backend_->Name())); !noted)
    return FailureFrom(noted.error(), FailureClass::kSessionFailed);

  workspace::MaterializeOptions options;
  options.manifest = &contract_->workspace;
  options.cache = &services_.cache;
  options.target = dirs_->tree.get();
  options.trusted = dirs_->trusted.get();
  if (overlay_) {
    options.checkouts = &services_.checkouts;
    // The job's, as the upper layer is: a mount made in its user namespace is made as its uid.
    auto work = MakeDirectoriesBeneath(services_.sessions_dir, dirs_->name + "/work", 0700);
    if (work && services_.config.uid_range &&
        fchown(work->get(), plan_->job.identity.uid, plan_->job.identity.gid) != 0)
      work = SysError(errno, "session.mkdir", "could not give a session's folder to the job");
    if (!work) return FailureFrom(work.error(), FailureClass::kSessionFailed);
  }
  if (services_.config.uid_range)
    options.owner = workspace::JobOwner{plan_->job.identity.uid, plan_->job.identity.gid};
  std::vector<protocol::Digest> received;
  ProgressMeter meter(services_.bus, Ref(), Progress::Phase::kFetch, services_.clock,
                      FarProgress());
  ProgressMeter written(services_.bus, Ref(), Progress::Phase::kMaterialize, services_.clock,
                        FarProgress());
  options.wrote = [&](std::uint64_t bytes) {
    written.File();
    written.Bytes(bytes);
  };
  options.blobs = [&](const protocol::Digest& digest) -> Result<UniqueFd> {
    WRIT_ASSIGN(UniqueFd fd,
                OpenBeneath(dirs_->blobs.get(), digest.ToHex(), O_RDWR | O_CREAT, 0600));
    Deadline deadline = Deadline::After(services_.clock, services_.config.transfer_timeout);
    Secret token = ticket_.Get();
    WRIT_ASSIGN(
        [[maybe_unused]] std::uint64_t bytes,
        plane_.GetBlob(digest, token, fd.get(), services_.config.limits.max_blob_bytes, deadline,
                       halt_.get_token(), [&](std::uint64_t more) { meter.Bytes(more); }));
    meter.File();
    written.Restart();
    if (lseek(fd.get(), 0, SEEK_SET) != 0)
      return SysError(errno, "transfer.read", "could not read a blob's file");
    received.push_back(digest);
    return fd;
  };
  exposed_before_ = services_.checkouts.Exposed();
  Result<workspace::Materialized> made = workspace::Materialize(options);
  for (const protocol::Digest& digest : received)
    chain_->EmitOurs(protocol::events::BoundaryCrossed(protocol::Direction::kIn, digest,
                                                       protocol::kDataClassWorkspace));
  if (!made) {
    const Error& error = made.error();
    if (error.kind == ErrorKind::kCancelled && halt_.stop_requested()) return std::nullopt;
    bool transfer = error.code.starts_with("plane.") || error.code.starts_with("transfer.");
    FailureClass failure = transfer ? FailureClass::kTransferFailed
                                    : protocol::ParseFailureClass(workspace::FailureClassOf(error))
                                          .value_or(FailureClass::kCaptureFailed);
    return FailureFrom(error, failure);
  }
  materialized_ = std::move(*made);
  if (overlay_ && materialized_->lower_directory() != overlay_->lower)
    return RunFailure{FailureClass::kSessionFailed, "session.lower_layer",
                      "the checkout is not where the plan has it", ""};
  plan_->job.read_only_trees.push_back(materialized_->objects_directory());
  if (auto* mount = std::get_if<backends::WorkspaceMount>(&plan_->job.workspace))
    mount->kept_trees = {materialized_->objects_directory()};
  if (contract_->continuation) {
    if (auto failed = FetchCheckpoint()) return failed;
    if (halt_.stop_requested()) return std::nullopt;
  }
  chain_->Emit(protocol::events::WorkspaceMaterialized(contract_->ManifestHash()));
  chain_->EmitOurs(protocol::events::SessionPlanned(*plan_hash_));
  for (const PlanFinding& finding : plan_->findings)
    chain_->EmitOurs(protocol::events::Finding(finding.code, finding.message));
  for (const workspace::Finding& finding : materialized_->findings()) {
    std::string path = workspace::PathForRecord(finding.path);
    chain_->EmitOurs(protocol::events::Finding(
        finding.code, finding.detail,
        finding.path.empty() ? std::nullopt : std::optional<std::string_view>(path)));
  }
  Result<RunSignals> flushed = chain_->Flush(plane_, claim_.run_id, ticket_.Get(),
                                             services_.config.call_timeout, halt_.get_token());
  if (!flushed) {
    // What halted the run is taken up before the next step.
    if (flushed.error().kind == ErrorKind::kCancelled) return std::nullopt;
    return FailureFrom(flushed.error(), flushed.error().code.starts_with("journal.")
                                            ? FailureClass::kSessionFailed
                                            : FailureClass::kTransferFailed);
  }
  if (flushed->cancel_requested && !lease_) Halt(std::nullopt, flushed->cancelled_by);
  Tell(runner::Step::kMaterialized);
  return std::nullopt;
}

}  // namespace writ::runner
