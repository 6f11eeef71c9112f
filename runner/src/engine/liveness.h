// Liveness: do the loops of this process still turn? Each says what it does and by when it will
// speak again; one that is silent past that is stuck. A service manager's watchdog is fed from it,
// so that a wedged runner is restarted and a merely waiting one is not. Thread-safe.
#pragma once

#include <chrono>
#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "writ/base/clock.h"

namespace writ::runner {

class Liveness {
 public:
  explicit Liveness(const Clock& clock) : clock_(clock) {}

  // One loop's entry, until it is destroyed. A loop that has said nothing yet is not judged.
  class Beat {
   public:
    Beat() = default;
    Beat(Beat&& other) noexcept;
    Beat& operator=(Beat&& other) noexcept;
    ~Beat();
    void Within(std::chrono::milliseconds next, std::string doing);
    void Pause();  // has nothing to do; not judged until the next Within

   private:
    friend class Liveness;
    Beat(Liveness* owner, int id) : owner_(owner), id_(id) {}
    Liveness* owner_ = nullptr;
    int id_ = 0;
  };
  Beat Register(std::string name);

  // "slot 2 (claiming) is 31000 ms late": the first stuck loop; nullopt where all turn.
  std::optional<std::string> Stuck() const;

 private:
  struct Entry {
    std::string name;
    std::string doing;
    std::optional<std::chrono::nanoseconds> due;
  };
  const Clock& clock_;
  mutable std::mutex mutex_;  // guards what follows
  std::map<int, Entry> entries_;
  int next_ = 1;
};

}  // namespace writ::runner
