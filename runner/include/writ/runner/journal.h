// Journal: durable notes of every claimed run, so that kill -9 at any instant still ends in one
// signed receipt (L38).
//
// One SQLite database, <state_dir>/journal/journal.db (folder 0700, file 0600, write-ahead log).
// Each note is one transaction and says how long it lasts:
//   on disk            when it has returned: the claim, and what announces a deed to the plane -
//                      events before they are sent, the receipt before `complete`, a parked bundle;
//   outlives a kill    everything else: steps, session names, starts, collected output. Notes
//                      come to the disk in their order, with the next one of the first sort; a
//                      power cut takes the tail, and of a job nothing is left then that they would
//                      be needed for.
// Secret values are never in it; the claim token is, because the receipt is delivered with it. A
// run is open (in work, or left by a process that died), waiting (its receipt is signed and the
// plane could not be reached) or parked (the plane will not take it: the whole bundle is kept).
//
// A damaged database is moved to journal/damaged-TIME/ and a new one begun (L39); one of a newer
// writ is refused (journal.newer), an older one is brought up to date in one transaction.
// Thread-safe; the notes of sessions that come at the same time share a commit.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "writ/base/clock.h"
#include "writ/base/result.h"
#include "writ/base/secret.h"
#include "writ/protocol/event.h"
#include "writ/protocol/json.h"
#include "writ/protocol/names.h"
#include "writ/protocol/words.h"

namespace writ::runner {

struct JournalClaim {
  protocol::RunId run_id;
  json::Value contract;  // as it came
  json::Value events;    // the plane's, as they came
  bool extended = false;
  unsigned slot = 0;
  // Not acknowledged yet (protocol.md section 6): the run may be nobody's, and only a noted offer
  // is acknowledged.
  bool offered = false;
};

enum class StepPhase { kBegun, kDone };

// What a finished job left for the plane. The bytes lie in the session's folder under their hash.
struct JournalUpload {
  protocol::ArtifactKind kind = protocol::ArtifactKind::kFile;
  std::string data_class;
  protocol::Digest digest;
  std::uint64_t bytes = 0;
  bool uploaded = false;
  std::string path{};  // of a declared output file, as it is told; else empty
};

// How far the plane has the chain, as indices into it: all before `sent` are there; those in
// [sent, in_doubt) went out as one batch whose answer is not known.
struct ChainDelivery {
  std::size_t sent = 0;
  std::size_t in_doubt = 0;
  bool operator==(const ChainDelivery&) const = default;
};

// The keys that a bundle names.
struct BundleKeyTexts {
  std::string plane_pem;
  std::string runner_pem;
};

// Where a run's job was, for who looks whether anything is left of it.
struct JobPlace {
  protocol::RunId run_id;
  unsigned slot = 0;
  std::string session_name;  // folder below <work_dir>/sessions
  std::string backend;       // empty: no job had been prepared
  std::string leftovers;     // what the backend said it would need (backends::Job::Leftovers)
};

// What is known of a run that is not closed.
struct OpenRun {
  JournalClaim claim;
  bool waiting = false;  // nothing is left of its job: only the plane's answer is missing
  Secret claim_token;
  WallTime claimed_at;
  std::vector<protocol::Event> events;  // the plane's and ours
  ChainDelivery delivery;
  std::string step;  // the last one noted
  StepPhase step_phase = StepPhase::kBegun;
  WallTime step_at;
  JobPlace place;
  std::uint64_t output_bytes = 0;      // of the job's output, given to the plane while it ran
  std::optional<json::Value> started;  // once its job ran: what was known of the run's ending then
  std::optional<json::Value> ending;   // how the run ends, once its output is collected
  std::vector<JournalUpload> uploads;  // the collected output, in the order of upload
  std::optional<json::Value> receipt;  // signed, maybe delivered
  BundleKeyTexts keys;                 // of that time, with the receipt
};

class RunJournal {
 public:
  virtual ~RunJournal() = default;
  // These outlive a kill.
  virtual Status NoteStep(std::string_view step, StepPhase phase = StepPhase::kDone) = 0;
  virtual Status NoteSession(const std::string& session_name, const std::string& backend) = 0;
  // The job may start from here on: what its backend will need to find it.
  virtual Status NotePrepared(const std::string& leftovers) = 0;
  // The job runs: the run's ending as it would be now.
  virtual Status NoteStarted(const json::Value& ending) = 0;
  // Something of the job's isolation is left. Kept when the run is closed, until
  // Journal::ForgetLeft.
  virtual Status NoteLeft() = 0;
  virtual Status NoteOutput(std::uint64_t bytes) = 0;
  // Collected: from here on the run is finished from these notes alone. `events` are appended.
  virtual Status NoteCollected(std::span<const protocol::Event> events, const json::Value& ending,
                               std::span<const JournalUpload> uploads) = 0;
  virtual Status NoteUploaded(const protocol::Digest& digest) = 0;
  virtual Status NoteToken(const Secret& claim_token) = 0;  // a renewed one
  // Kept in memory until the next NoteEvents, with whose commit it is on the disk.
  virtual Status NoteReceipt(const json::Value& signed_receipt) = 0;

  // These are on the disk when they have returned, and everything noted before with them.
  // The offer was acknowledged: the run is ours, and `events` is the plane's whole chain, in place
  // of that of the offer.
  virtual Status NoteAcknowledged(const json::Value& events) = 0;
  // Appended; `delivery` where it has changed.
  virtual Status NoteEvents(std::span<const protocol::Event> events,
                            std::optional<ChainDelivery> delivery = std::nullopt) = 0;
  // The plane will not take the receipt; `why` goes into the list of `writ runner receipts`. The
  // run is closed and its whole bundle kept. Needs a noted receipt.
  // `late`: "stored" where the plane keeps it beside its own receipt, or why it does not; else
  // empty.
  virtual Status Park(const Error& why, const std::string& late = {}) = 0;

  // The plane cannot be reached: the receipt goes out later (outlives a kill).
  virtual Status NoteWaiting(const Error& why) = 0;
  // The plane has the receipt. Outlives a kill; lost in a power cut, the receipt is sent once more
  // and the plane says that it has it.
  virtual Status Close() = 0;
};

// A receipt that is not with the plane.
struct KeptReceipt {
  protocol::RunId run_id;
  bool parked = false;  // false: waiting, it will be sent
  WallTime since;
  std::string status;  // of the receipt
  std::string code;    // why the plane has it not
  std::string message;
  std::string late;  // see RunJournal::Park
};

class Journal {
 public:
  virtual ~Journal() = default;
  // For the bundles of receipts that are noted from now on.
  virtual void UseKeys(BundleKeyTexts keys) = 0;
  // A run id that is there already - the plane gave it again after ours was closed - begins afresh.
  // Outlives a kill; on the disk with the run's first NoteEvents or Sync. An offer: on the disk.
  virtual Result<std::unique_ptr<RunJournal>> Begin(const JournalClaim& claim,
                                                    const Secret& claim_token) = 0;
  // Takes up an open run again, to finish it.
  virtual Result<std::unique_ptr<RunJournal>> Resume(const protocol::RunId& run) = 0;
  // In the order of their claims. A run whose notes cannot be read is logged, set aside and left
  // out.
  virtual Result<std::vector<OpenRun>> FindOpen() = 0;
  // Those that wait for the plane, in the order of their claims, and one of them.
  virtual Result<std::vector<protocol::RunId>> Waiting() = 0;
  virtual Result<OpenRun> Read(const protocol::RunId& run) = 0;
  // How many are in work or were left so: neither waiting nor parked.
  virtual Result<std::size_t> CountOpen() = 0;
  // Runs of which something is left (RunJournal::NoteLeft), closed ones too; and the note that
  // nothing is any more.
  virtual Result<std::vector<JobPlace>> Left() = 0;
  virtual Status ForgetLeft(const protocol::RunId& run) = 0;
};

// kUnavailable where the disk does not let it, kUnsupported "journal.newer".
Result<std::unique_ptr<Journal>> OpenJournal(const std::string& state_dir, const Clock& clock);

// For readers beside a working runner: nothing is changed. An empty list where there is no journal.
Result<std::vector<KeptReceipt>> ListKeptReceipts(const std::string& state_dir);
// Its bundle, as a verifier reads it. kNotFound "receipts.unknown_run".
Result<json::Value> ReadKeptBundle(const std::string& state_dir, const protocol::RunId& run);

}  // namespace writ::runner
