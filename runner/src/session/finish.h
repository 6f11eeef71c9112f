// Finish: the last part of a run - upload what was collected, terminal event, receipt, delivery -
// from values that the journal keeps, so that a session and the next process of a killed one take
// the same way (L38).
//
// Everything is borrowed. Uploads and delivery make calls to the plane and may be begun again from
// the journal at any point; signing happens once, because a noted receipt is never made anew.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "events/progress_meter.h"
#include "session/chain_writer.h"
#include "writ/protocol/contract.h"
#include "writ/runner/failure.h"
#include "writ/runner/journal.h"
#include "writ/runner/plane_client.h"

namespace writ::runner {

struct SessionServices;

enum class BlobPolicy { kUpload, kOnlyHashes };  // kOnlyHashes: disclosure metadata-only

// How a run ends, as it is decided when its isolation is gone.
struct Ending {
  std::optional<RunFailure> failure;            // neither: it completed
  std::optional<protocol::Actor> cancelled_by;  // wins over a failure
  BlobPolicy blobs = BlobPolicy::kUpload;
  std::string isolation;                   // the tier's word; empty: not decided
  std::optional<json::Value> environment;  // of the receipt, towards planes with the extension

  json::Value ToJson() const;
  static Result<Ending> Parse(const json::Value& value);
};

// What the plane has to do with the receipt now.
enum class Delivery {
  kDone,    // it has it
  kLater,   // it could not be reached, or is not itself: try again
  kRefused  // it will not take it: park
};
// Of a failed call that delivers.
Delivery JudgeDelivery(const Error& error);
// Of any failed call: nobody answered in time, or everybody is asked to come later. What needs the
// call waits then, with what is behind it; every other failure is about this call.
bool AsksToWait(const Error& error);

struct FinishParts {
  SessionServices& services;
  PlaneClient* plane;  // null: for signing only
  const protocol::RunId& run;
  const json::Value& contract;  // as it came
  ChainWriter& chain;
  RunJournal* journal;  // null: it takes no notes
  std::function<Secret()> token;
  std::stop_token stop{};  // gives up calls
  ProgressListener progress{};
  std::function<void(Secret)> renewed{};  // what `token` gives from now on; set where plane is
};

// One collected output at a time, in order; `bytes_of` gives what stands under a digest. The events
// of one that stands in the chain already are not written again. kUnavailable: begin again later.
Status UploadCollected(
    const FinishParts& parts, const std::vector<JournalUpload>& uploads, BlobPolicy blobs,
    const std::function<Result<std::string_view>(const protocol::Digest&)>& bytes_of);

// The terminal event and the signed receipt, noted to go to the disk with that event.
Result<json::Value> SignEnding(const FinishParts& parts, const Ending& ending);

// Events that are left, then the receipt.
Status DeliverReceipt(const FinishParts& parts, const json::Value& receipt);

// For a receipt that the plane will not take: offered as a late bundle where it has closed the run,
// then parked in the journal. The error says why it could not be kept.
Status ParkRun(const FinishParts& parts, const json::Value& receipt, const Error& why);

}  // namespace writ::runner
