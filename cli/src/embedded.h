// Embedded: a runner in this process for a local plane, over loopback HTTP: the same plane server,
// the same runner, the same wire format as between two machines.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "writ/base/clock.h"
#include "writ/base/result.h"
#include "writ/plane/plane.h"
#include "writ/runner/observer.h"

namespace writ::cli {

struct EmbeddedOptions {
  std::string dir;
  std::string pool;
  std::string only_run;                     // the one run that it claims
  runner::RunObserver* observer = nullptr;  // borrowed; may be null
  std::vector<std::string> allow_access{};  // members of grants.session, above file and environment
  // For a step of a recipe: its guest images are in this directory (MicrovmBackendOptions::Jobs).
  std::string steps_dir{};
  std::optional<int> seat{};  // that one (DesertedSeat); nullopt: the first free one
};

class Embedded {
 public:
  // `plane` and `clock` are borrowed and outlive it.
  static Result<std::unique_ptr<Embedded>> Start(const EmbeddedOptions& options,
                                                 plane::Plane& plane, const Clock& clock);
  // Where the runner `runner_id` of this directory sat, whose process is gone: started there again
  // it ends what it left. nullopt: it is at work, or is none of these.
  static std::optional<int> DesertedSeat(const std::string& dir, const std::string& pool,
                                         std::string_view runner_id);
  ~Embedded();  // stops the runner (its run ends with a receipt) and then the server

  // The runner's own failure (it could not enrol, could not start); nullopt while all is well.
  std::optional<Error> Trouble() const;
  // The one run is or was in work here, and not with another runner.
  bool HasTakenTheRun() const;
  // Asks the running job to end; its receipt says cancelled.
  void Cancel();

 private:
  struct Impl;
  explicit Embedded(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace writ::cli
