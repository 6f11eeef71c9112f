// LiveOutput: what a run prints, shown as it happens and to its last byte (L18).
//
// Each stream is read from the offset that was shown, so that a call made again brings nothing
// twice and leaves nothing out. When the run has ended, what was shown is held against the log in
// the receipt: a rest that the plane never got live (it was away when the job ended, or keeps no
// more) is taken from the log itself, and what cannot be had is said. One thread.
#pragma once

#include <cstdint>
#include <cstdio>
#include <functional>
#include <optional>
#include <string>

#include "context.h"
#include "interrupts.h"
#include "plane_away.h"
#include "progress_lines.h"
#include "requester.h"
#include "writ/protocol/digest.h"

namespace writ::cli {

class LiveOutput {
 public:
  // All are borrowed and outlive it. `before` is called once, before the first byte is shown.
  LiveOutput(const Context& context, Requester& requester, const std::string& run_id,
             PlaneAway& away, std::function<void()> before);

  // One look at each stream of a run in work, or that has ended; waits a moment for output of one
  // in work.
  void Read(const plane::RunDetail& detail);
  // False when an ended run has no more to show, as far as is known.
  bool HasMore() const;
  // How long the next Read would ask nothing, because calls failed; 0: it asks.
  std::chrono::milliseconds Wait() const;
  // Read itself waits for output.
  bool Follows() const { return !out_.over; }

  enum class End {
    kWhole,       // all of it was shown
    kCut,         // the log is over its bound, and so may be what was shown
    kIncomplete,  // the rest could not be had now
  };
  // Of an ended run, once there is no more: shows what its log has and the streams had not. A
  // signal ends the waiting for a plane that is away.
  End Finish(const plane::RunDetail& detail, const Interrupts& interrupts);

 private:
  struct Lane {
    Lane(plane::LogStream which, std::FILE* where, PlaneAway& away)
        : stream(which), to(where), call(away) {}
    plane::LogStream stream;
    std::FILE* to;
    PlaneAway::Call call;
    bool over = false;  // nothing more of it is asked for
    bool lost = false;  // because the plane kept failing
    std::uint64_t offset = 0;
    protocol::Sha256Hasher shown{};
  };
  // Nothing where it failed, which is dealt with.
  std::optional<plane::LogChunk> Ask(Lane& lane, std::chrono::milliseconds wait);
  void ReadProgress();
  void Show(Lane& lane, std::string_view bytes);
  // Whose log the one at that place is, of so many; nullptr where nobody can tell.
  Lane* LaneOf(std::size_t log, std::size_t logs);
  std::optional<std::string> Fetch(const std::string& hash, const Interrupts& interrupts);

  const Context& context_;
  Requester& requester_;
  PlaneAway& away_;
  const std::string run_id_;
  std::function<void()> before_;
  ProgressLines progress_;
  Lane out_, err_, transfers_;
  // By the contract, which a far plane does not show: then both streams are asked for.
  enum class Streams { kUnknown, kMerged, kApart };
  Streams streams_ = Streams::kUnknown;
};

}  // namespace writ::cli
