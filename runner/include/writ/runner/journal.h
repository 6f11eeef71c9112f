// Journal: durable notes of every open run, so that kill -9 at any instant still ends in one signed
// receipt (L38).
//
// One folder per run below <state_dir>/journal (0700): what was claimed, where its session lies,
// the chain's events and, once signed, the receipt. A note is synced before the deed it announces:
// events before they are sent, the receipt before `complete`. Secret values are never in it; the
// claim token is (0600), because the receipt is delivered with it. Steps and session names are
// written without a sync: a kill cannot lose them, and after a power cut nothing of a job is left
// that they would be needed for. This form is files; the interface is what sessions and the engine
// know. A RunJournal belongs to one session, whose threads share it: its methods lock.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "writ/base/result.h"
#include "writ/base/secret.h"
#include "writ/protocol/event.h"
#include "writ/protocol/json.h"
#include "writ/protocol/names.h"

namespace writ::runner {

struct JournalClaim {
  protocol::RunId run_id;
  json::Value contract;  // as it came
  json::Value events;    // the plane's, as they came
  bool extended = false;
  unsigned slot = 0;
  // Not acknowledged yet (protocol.md section 6): the run may be nobody's. Durable when Begin
  // returns, because only a noted offer is acknowledged.
  bool offered = false;
};

// What is known of a run that an earlier process left open.
struct OpenRun {
  JournalClaim claim;
  Secret claim_token;
  std::vector<protocol::Event> events;  // the plane's and ours
  std::optional<json::Value> receipt;   // signed, maybe delivered
  std::string backend;                  // empty: no job had been prepared
  std::string session_name;             // folder below <work_dir>/sessions
  std::string step;                     // last step noted
};

class RunJournal {
 public:
  virtual ~RunJournal() = default;
  // The offer was acknowledged: the run is ours, and `events` is the plane's whole chain, in place
  // of those of the offer. Durable on return.
  virtual Status NoteAcknowledged(const json::Value& events) = 0;
  virtual Status NoteStep(std::string_view step) = 0;
  virtual Status NoteSession(const std::string& session_name, const std::string& backend) = 0;
  virtual Status NoteEvents(std::span<const protocol::Event> events) = 0;  // appended
  // On the disk once the next NoteEvents has returned.
  virtual Status NoteReceipt(const json::Value& signed_receipt) = 0;
  virtual Status NoteToken(const Secret& claim_token) = 0;
  virtual Status
  Close() = 0;  // the plane has the receipt, or it is parked: nothing to do at the next start
};

class Journal {
 public:
  virtual ~Journal() = default;
  virtual Result<std::unique_ptr<RunJournal>> Begin(const JournalClaim& claim,
                                                    const Secret& claim_token) = 0;
  // Takes up an open run again, to finish it.
  virtual Result<std::unique_ptr<RunJournal>> Resume(const protocol::RunId& run) = 0;
  // Damaged folders are set aside (<name>.damaged) and logged, not fatal for the others (L39).
  virtual Result<std::vector<OpenRun>> FindOpen() = 0;
};

Result<std::unique_ptr<Journal>> OpenFileJournal(const std::string& state_dir);

}  // namespace writ::runner
