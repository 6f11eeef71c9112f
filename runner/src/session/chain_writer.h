// ChainWriter: continues the plane's chain, keeps what is not sent yet, and keeps our own
// vocabulary apart.
//
// Towards a plane without the extension only base events go into the chain; the others are
// collected in the trace, which is uploaded as one artifact (protocol.md section 5). Thread-safe:
// the proxy's events come from a thread of their own.
#pragma once

#include <mutex>
#include <optional>
#include <stop_token>
#include <vector>

#include "writ/base/clock.h"
#include "writ/protocol/event.h"
#include "writ/runner/journal.h"
#include "writ/runner/plane_client.h"

namespace writ::runner {

enum class Vocabulary { kBase, kExtended };

// What a journal that takes no notes (a full disk) means for the sending of events: wait until they
// are noted, or send them all the same, because this is the run's last chance to be told.
enum class UnlessNoted { kStop, kSend };

class ChainWriter {
 public:
  // `before`: the plane's events; they count as sent.
  ChainWriter(const Clock& clock, protocol::EventChain chain, std::vector<protocol::Event> before,
              Vocabulary vocabulary, RunJournal* journal);

  Vocabulary vocabulary() const { return vocabulary_; }
  void Emit(json::Value event);      // base vocabulary
  void EmitOurs(json::Value event);  // in the chain or in the trace
  // Journals, then sends what is unsent, in batches. Two threads may call; one sends at a time.
  // What could not be journaled is tried again by the next call.
  Result<RunSignals> Flush(PlaneClient& plane, const protocol::RunId& run,
                           const Secret& claim_token, std::chrono::milliseconds limit,
                           std::stop_token stop, UnlessNoted unless_noted = UnlessNoted::kStop);
  // Before the first flush of a run that another process began: what it knew of the delivery.
  void Resume(const ChainDelivery& delivery);
  // Journals what is not journaled yet, with the run's ending and collected output: from here on
  // the run can be finished from the journal.
  Status NoteCollected(const json::Value& ending, std::span<const JournalUpload> uploads);
  // Journals what is not journaled yet, on the disk.
  Status Note();
  // Empty where everything is sent.
  bool HasUnsent() const;
  std::vector<protocol::Event> Events() const;
  json::Array Trace() const;
  WallTime FirstTime() const;

 private:
  std::vector<protocol::Event> Unjournaled() const;  // with sending_ held
  const Clock* clock_;
  Vocabulary vocabulary_;
  RunJournal* journal_;
  mutable std::mutex mutex_;  // guards what follows
  protocol::EventChain chain_;
  std::vector<protocol::Event> events_;
  std::size_t sent_ = 0;
  // A batch up to here was sent and its answer never came (the call was given up): stored or not,
  // nobody here knows. It is sent again just as it was, and a refusal then means that it is stored.
  std::size_t in_doubt_ = 0;
  json::Array trace_;
  std::mutex sending_;         // held during a flush; taken before mutex_
  std::size_t journaled_ = 0;  // guarded by sending_, as is
  ChainDelivery noted_;        // what the journal has
};

}  // namespace writ::runner
