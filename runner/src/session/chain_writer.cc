#include "session/chain_writer.h"

#include <algorithm>

#include "writ/base/log.h"

namespace writ::runner {
namespace {
constexpr std::size_t kBatch = 1000;
}  // namespace

ChainWriter::ChainWriter(const Clock& clock, protocol::EventChain chain,
                         std::vector<protocol::Event> before, Vocabulary vocabulary,
                         RunJournal* journal)
    : clock_(&clock),
      vocabulary_(vocabulary),
      journal_(journal),
      chain_(std::move(chain)),
      events_(std::move(before)),
      sent_(events_.size()),
      journaled_(events_.size()),
      noted_{sent_, 0} {}

void ChainWriter::Resume(const ChainDelivery& delivery) {
  std::lock_guard sending(sending_);
  std::lock_guard lock(mutex_);
  sent_ = std::min(delivery.sent, events_.size());
  in_doubt_ = std::min(delivery.in_doubt, events_.size());
  noted_ = {sent_, in_doubt_};
}

std::vector<protocol::Event> ChainWriter::Unjournaled() const {
  std::lock_guard lock(mutex_);
  return {events_.begin() + static_cast<std::ptrdiff_t>(journaled_), events_.end()};
}

Status ChainWriter::Note() {
  if (journal_ == nullptr) return {};
  std::lock_guard sending(sending_);
  std::vector<protocol::Event> unjournaled = Unjournaled();
  WRIT_TRY(journal_->NoteEvents(unjournaled));
  journaled_ += unjournaled.size();
  return {};
}

Status ChainWriter::NoteCollected(const json::Value& ending,
                                  std::span<const JournalUpload> uploads) {
  if (journal_ == nullptr) return {};
  std::lock_guard sending(sending_);
  std::vector<protocol::Event> unjournaled = Unjournaled();
  WRIT_TRY(journal_->NoteCollected(unjournaled, ending, uploads));
  journaled_ += unjournaled.size();
  return {};
}

void ChainWriter::Emit(json::Value event) {
  std::lock_guard lock(mutex_);
  events_.push_back(chain_.Append(clock_->Now(), std::move(event)));
}

void ChainWriter::EmitOurs(json::Value event) {
  if (vocabulary_ == Vocabulary::kExtended) {
    Emit(std::move(event));
    return;
  }
  std::lock_guard lock(mutex_);
  trace_.push_back(
      json::Object{{"ts", FormatRfc3339(clock_->Now())},
                   {"afterSeq", events_.empty() ? std::int64_t{-1}
                                                : static_cast<std::int64_t>(events_.back().seq)},
                   {"event", std::move(event)}});
}

Result<RunSignals> ChainWriter::Flush(PlaneClient& plane, const protocol::RunId& run,
                                      const Secret& claim_token, std::chrono::milliseconds limit,
                                      std::stop_token stop, UnlessNoted unless_noted) {
  std::lock_guard sending(sending_);
  Deadline deadline = Deadline::After(*clock_, limit);
  RunSignals signals;
  for (;;) {
    std::vector<protocol::Event> unjournaled, batch;
    {
      std::lock_guard lock(mutex_);
      unjournaled.assign(events_.begin() + static_cast<std::ptrdiff_t>(journaled_), events_.end());
      std::size_t end = in_doubt_ > sent_ ? in_doubt_ : std::min(events_.size(), sent_ + kBatch);
      batch.assign(events_.begin() + static_cast<std::ptrdiff_t>(sent_),
                   events_.begin() + static_cast<std::ptrdiff_t>(end));
    }
    if (batch.empty()) return signals;
    // The batch is in doubt from before it is sent until the next one is noted.
    const ChainDelivery delivery{sent_, sent_ + batch.size()};
    if (journal_ != nullptr && (!unjournaled.empty() || delivery != noted_)) {
      if (Status noted = journal_->NoteEvents(unjournaled, delivery); noted) {
        journaled_ += unjournaled.size();
        noted_ = delivery;
      } else if (unless_noted == UnlessNoted::kStop) {
        return std::move(noted).error();
      } else {
        log::Error("runner.journal", "events go to the plane without having been noted",
                   {{"run", run.text()}, {"code", noted.error().code}});
      }
    }
    Result<RunSignals> answer = plane.AppendEvents(run, claim_token, batch, deadline, stop);
    std::lock_guard lock(mutex_);
    if (!answer) {
      const ErrorKind kind = answer.error().kind;
      // An answer that cannot be read says nothing: the batch may be stored.
      const bool refused = (kind == ErrorKind::kInvalid || kind == ErrorKind::kConflict) &&
                           answer.error().code != "plane.nonsense";
      if (!refused || in_doubt_ <= sent_) {
        in_doubt_ = refused ? 0 : sent_ + batch.size();
        return std::move(answer).error();
      }
    } else {
      signals = std::move(*answer);
    }
    sent_ += batch.size();
    in_doubt_ = 0;
  }
}

bool ChainWriter::HasUnsent() const {
  std::lock_guard lock(mutex_);
  return sent_ < events_.size();
}
std::vector<protocol::Event> ChainWriter::Events() const {
  std::lock_guard lock(mutex_);
  return events_;
}
json::Array ChainWriter::Trace() const {
  std::lock_guard lock(mutex_);
  return trace_;
}
WallTime ChainWriter::FirstTime() const {
  std::lock_guard lock(mutex_);
  return events_.empty() ? clock_->Now() : events_.front().ts;
}

}  // namespace writ::runner
