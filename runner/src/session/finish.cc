#include "session/finish.h"

#include <algorithm>

#include "events/progress_meter.h"
#include "journal/unnoted.h"
#include "session/session.h"
#include "writ/base/fault.h"
#include "writ/base/log.h"
#include "writ/protocol/events.h"

namespace writ::runner {

namespace events = protocol::events;

json::Value Ending::ToJson() const {
  json::Object out{{"blobs", blobs == BlobPolicy::kUpload}, {"isolation", isolation}};
  if (failure)
    out.Set("failure", json::Object{{"class", protocol::Word(failure->failure)},
                                    {"code", failure->code},
                                    {"message", failure->message},
                                    {"hint", failure->hint}});
  if (cancelled_by) out.Set("cancelledBy", cancelled_by->ToJson());
  if (environment) out.Set("environment", *environment);
  return out;
}

Result<Ending> Ending::Parse(const json::Value& value) {
  json::Issues issues;
  json::ObjectReader reader(issues, value);
  Ending ending;
  ending.blobs = reader.Bool("blobs") ? BlobPolicy::kUpload : BlobPolicy::kOnlyHashes;
  ending.isolation = reader.String("isolation");
  if (const json::Value* failure = reader.Find("failure")) {
    json::ObjectReader inner(issues, *failure, "/failure");
    RunFailure read;
    read.failure = inner.Enum("class", protocol::kFailureClassTable);
    read.code = inner.String("code");
    read.message = inner.String("message");
    read.hint = inner.String("hint");
    ending.failure = std::move(read);
  }
  if (const json::Value* actor = reader.Find("cancelledBy"))
    ending.cancelled_by = protocol::Actor::Read(json::ObjectReader(issues, *actor, "/cancelledBy"));
  if (const json::Value* environment = reader.Find("environment"))
    ending.environment = *environment;
  WRIT_TRY(issues.ToStatus("the journal's ending"));
  return ending;
}

Delivery JudgeDelivery(const Error& error) {
  if (error.code == "plane.nonsense" || error.code == "plane.too_large") return Delivery::kLater;
  if (error.code == "fault.injected") return Delivery::kLater;
  switch (error.kind) {
    case ErrorKind::kUnavailable:
    case ErrorKind::kOverloaded:
    case ErrorKind::kCancelled:
      return Delivery::kLater;
    default:
      return Delivery::kRefused;
  }
}

bool AsksToWait(const Error& error) {
  return error.kind == ErrorKind::kUnavailable && error.code != "plane.refused";
}

namespace {

// A claim token that ran out while the plane was away: a plane with the extension gives a fresh one
// to who shows the runner's own token. What it says instead counts for the call that was refused.
Status RenewToken(const FinishParts& parts) {
  const SessionServices& services = parts.services;
  WRIT_ASSIGN(LeaseAnswer answer,
              parts.plane->RenewLease(parts.run, parts.token(), &services.identity.token, {},
                                      Deadline::After(services.clock, services.config.call_timeout),
                                      parts.stop));
  if (answer.signals.claim_token) parts.renewed(std::move(*answer.signals.claim_token));
  return {};
}

// `call` shows the claim token; once more where that has run out.
template <typename Call>
auto WithGoodToken(const FinishParts& parts, const Call& call) -> decltype(call()) {
  const Secret shown = parts.token();
  auto done = call();
  if (done || done.error().code != "plane.unauthorized" ||
      parts.chain.vocabulary() != Vocabulary::kExtended)
    return done;
  // The run's lease may bring a fresh one meanwhile.
  auto stale = [&] { return parts.token().Reveal() == shown.Reveal(); };
  if (stale()) {
    Status renewed = RenewToken(parts);
    if (!renewed && stale()) return std::move(renewed).error();
  }
  return call();
}

// How often the chain has this artifact already: two collected outputs may be the same bytes.
std::size_t CountInChain(const std::vector<protocol::Event>& chain, const JournalUpload& upload) {
  const std::string hex = upload.digest.ToHex();
  return static_cast<std::size_t>(
      std::count_if(chain.begin(), chain.end(), [&](const protocol::Event& event) {
        return event.type() == protocol::events::kArtifactCreated &&
               event.event.FindString("hash") == hex &&
               event.event.FindString("kind") == protocol::Word(upload.kind);
      }));
}

Status SendOne(const FinishParts& parts, const JournalUpload& upload,
               const std::function<Result<std::string_view>(const protocol::Digest&)>& bytes_of,
               ProgressMeter& meter) {
  WRIT_ASSIGN(std::string_view bytes, bytes_of(upload.digest));
  const Deadline deadline =
      Deadline::After(parts.services.clock, parts.services.config.transfer_timeout);
  auto tell = [&](UploadWord how) {
    parts.services.bus.Publish(BlobUploaded{RunRef{parts.run.text()}, bytes.size(), how});
  };
  meter.File();
  if (parts.chain.vocabulary() == Vocabulary::kBase) {
    Status put = parts.plane->PutBlob(bytes, parts.token(), deadline, parts.stop);
    if (put) meter.Bytes(bytes.size());
    tell(put ? UploadWord::kSent : UploadWord::kFailed);
    return put;
  }
  Result<BlobSent> sent = WithGoodToken(parts, [&] {
    return parts.plane->SendBlob(
        bytes, upload.digest, parts.token(), [&](std::uint64_t more) { meter.Bytes(more); },
        deadline, parts.stop);
  });
  tell(!sent                       ? UploadWord::kFailed
       : *sent == BlobSent::kKnown ? UploadWord::kKnown
                                   : UploadWord::kSent);
  if (!sent) return std::move(sent).error();
  return {};
}

bool Same(const JournalUpload& a, const JournalUpload& b) {
  return a.kind == b.kind && a.digest == b.digest;
}

}  // namespace

Status UploadCollected(
    const FinishParts& parts, const std::vector<JournalUpload>& uploads, BlobPolicy blobs,
    const std::function<Result<std::string_view>(const protocol::Digest&)>& bytes_of) {
  const std::vector<protocol::Event> before = parts.chain.Events();
  ProgressMeter meter(parts.services.bus, RunRef{parts.run.text()}, Progress::Phase::kUpload,
                      parts.services.clock, parts.progress);
  for (std::size_t i = 0; i < uploads.size(); ++i) {
    const JournalUpload& upload = uploads[i];
    if (blobs == BlobPolicy::kUpload && !upload.uploaded) {
      Status put = SendOne(parts, upload, bytes_of, meter);
      if (!put)
        return std::move(put).error().With("while uploading the run's " +
                                           std::string(protocol::Word(upload.kind)));
      if (parts.journal != nullptr)
        LogUnnoted(parts.journal->NoteUploaded(upload.digest), parts.run,
                   "an upload could not be noted: after a kill the plane is asked for it again");
    }
    std::size_t of_this = 1;
    for (std::size_t j = 0; j < i; ++j) of_this += Same(uploads[j], upload) ? 1 : 0;
    if (CountInChain(before, upload) >= of_this) continue;
    const bool named = !upload.path.empty() && parts.chain.vocabulary() == Vocabulary::kExtended;
    parts.chain.Emit(named ? events::FileArtifactCreated(upload.digest, upload.path, upload.bytes)
                           : events::ArtifactCreated(upload.kind, upload.digest));
    if (blobs == BlobPolicy::kUpload)
      parts.chain.Emit(
          events::BoundaryCrossed(protocol::Direction::kOut, upload.digest, upload.data_class));
  }
  return {};
}

Result<json::Value> SignEnding(const FinishParts& parts, const Ending& ending) {
  const SessionServices& services = parts.services;
  if (ending.cancelled_by) {
    parts.chain.Emit(events::RunCancelled(*ending.cancelled_by));
  } else if (ending.failure) {
    parts.chain.Emit(events::RunFailed(ending.failure->failure, ending.failure->message));
    log::Warn("runner.run_failed", ending.failure->message,
              {{"run", parts.run.text()},
               {"failure", protocol::Word(ending.failure->failure)},
               {"code", ending.failure->code},
               {"hint", ending.failure->hint}});
  } else {
    parts.chain.Emit(events::RunCompleted());
  }
  const std::vector<protocol::Event> chain = parts.chain.Events();
  protocol::ReceiptFacts facts;
  facts.runner_id = services.identity.runner_id;
  if (auto pool = protocol::PoolName::Parse(services.config.pool)) facts.pool = *pool;
  if (!ending.isolation.empty()) facts.isolation = ending.isolation;
  facts.environment = ending.environment;
  std::optional<protocol::Receipt> receipt;
  if (Result<protocol::Contract> contract = protocol::Contract::Parse(parts.contract)) {
    if (Result<protocol::Receipt> made = protocol::ReceiptFromEvents(*contract, chain, facts))
      receipt = std::move(*made);
  }
  if (!receipt) {
    receipt = MinimalReceipt(parts.run, parts.contract, chain);
    receipt->runner_id = facts.runner_id;
    receipt->pool = facts.pool;
    receipt->attestation_tier = facts.attestation_tier;
    receipt->isolation = facts.isolation;
    receipt->environment = facts.environment;
  }
  WRIT_TRY(protocol::SignAsRunner(*receipt, services.identity.key));
  if (parts.journal != nullptr) WRIT_TRY(parts.journal->NoteReceipt(receipt->raw));
  return receipt->raw;
}

Status DeliverReceipt(const FinishParts& parts, const json::Value& receipt) {
  const SessionServices& services = parts.services;
  const bool extended = parts.chain.vocabulary() == Vocabulary::kExtended;
  WRIT_ASSIGN([[maybe_unused]] RunSignals signals, WithGoodToken(parts, [&] {
                return parts.chain.Flush(*parts.plane, parts.run, parts.token(),
                                         services.config.call_timeout, parts.stop,
                                         UnlessNoted::kSend);
              }));
  Result<std::optional<json::Value>> done = parts.plane->Complete(
      parts.run, parts.token(), extended ? &services.identity.token : nullptr, receipt,
      Deadline::After(services.clock, services.config.call_timeout), parts.stop);
  if (!done) return std::move(done).error();
  return {};
}

Status ParkRun(const FinishParts& parts, const json::Value& receipt, const Error& why) {
  std::string late;
  if (why.code == "plane.run_ended") {
    // Not delivered does not mean not wanted: beside the plane's own receipt it is kept as late.
    json::Array list;
    for (const protocol::Event& event : parts.chain.Events()) list.push_back(event.ToJson());
    Secret token = parts.token();
    Status stored = parts.plane->Late(
        parts.run, &token, parts.services.identity.token, std::move(list), receipt,
        Deadline::After(parts.services.clock, parts.services.config.call_timeout), parts.stop);
    late = stored ? "stored" : stored.error().code;
    if (stored) {
      log::Info("runner.late", "the plane keeps the finished run as a late bundle",
                {{"run", parts.run.text()}});
    } else {
      log::Warn("runner.late", "the plane did not take the finished run as a late bundle",
                {{"run", parts.run.text()}, {"code", late}});
    }
  }
  Status parked = Error{.code = "journal.none", .message = "there is no journal"};
  if (parts.journal != nullptr) {
    parked = parts.chain.Note();  // the bundle is made of what is noted
    if (parked) parked = parts.journal->Park(why, late);
  }
  log::Error("runner.parked",
             parked
                 ? "the plane did not take the receipt; its bundle is kept (writ runner receipts)"
                 : "the plane did not take the receipt, and the bundle could not be kept either; "
                   "the next start of this runner tries again",
             {{"run", parts.run.text()}, {"code", why.code}, {"error", why.ToString()}});
  return parked;
}

}  // namespace writ::runner
