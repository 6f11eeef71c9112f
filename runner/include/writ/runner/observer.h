// RunObserver: what a run tells those who watch it from this process (live output, steps).
//
// A view of the event bus (event_bus.h) for those who want no more than that. Called from the run's
// own threads, one call at a time per run, several runs at once: implementations lock. They return
// quickly; a slow observer slows the job. Output is redacted already (L9).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace writ::runner {

// The points of a session's life.
enum class Step {
  kClaimed,
  kVerified,
  kPlanned,
  kMaterialized,
  kPrepared,  // backend, proxy and secrets stand
  kStarted,
  kEnded,  // the job's tree is dead
  kCollected,
  kDismantled,
  kUploaded,
  kCompleted,  // the plane has the receipt
  kWaiting,    // the plane could not be reached: the receipt goes out later
  kParked,     // the plane did not take it: the journal keeps its bundle
};
const char* StepName(Step step);

struct RunEnd {
  std::string status;   // "completed", "failed", "cancelled"
  std::string failure;  // failure class, empty unless failed
  std::string message;  // one sentence
  std::string hint;
};

// How far a long transfer is.
struct Progress {
  enum class Phase { kFetch, kMaterialize, kUpload };
  Phase phase = Phase::kFetch;
  std::uint64_t bytes = 0;
  std::uint64_t files = 0;
};
const char* PhaseName(Progress::Phase phase);

class RunObserver {
 public:
  virtual ~RunObserver() = default;
  virtual void OnStep(const std::string& run_id, Step step) = 0;
  virtual void OnOutput(const std::string& run_id, std::string_view redacted) = 0;
  virtual void OnEnd(const std::string& run_id, const RunEnd& end) = 0;
  virtual void OnProgress(const std::string& run_id, const Progress& progress) {
    (void)run_id, (void)progress;
  }
};

}  // namespace writ::runner
