// What the plane knows of the runners that serve its pools, and why a run that nobody has claimed
// waits.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "matching.h"
#include "plane_impl.h"
#include "runner_identity.h"

namespace writ::plane {

// A runner asked for work: written down where it says something new, and else once a minute.
// `can` nullptr: it says nothing of itself.
Status NoteHeard(Plane::Impl& plane, const RunnerIdentity& runner,
                 const protocol::RunnerCapabilities* can);

// Answers for the runs of one read of the store. A runner serves its pool while it was heard of
// within some minutes, or has a run in work.
class WaitReasons {
 public:
  WaitReasons(store::Database& db, WallTime now) : db_(db), now_(now) {}
  // Of a run in state `created`.
  Result<Waiting> For(const std::string& run_id, const std::string& pool);

 private:
  struct Serving {
    std::string runner_id;
    std::optional<protocol::RunnerCapabilities> can;  // nullopt: it says nothing of itself
    bool at_work = false;
  };
  struct Pool {
    std::vector<Serving> serving;
    std::size_t enrolled = 0;
    std::optional<WallTime> last_heard;
  };
  Result<const Pool*> PoolOf(const std::string& name);

  store::Database& db_;
  const WallTime now_;
  std::map<std::string, Pool> pools_;
  std::map<std::pair<std::string, std::string>, Waiting> judged_;  // by pool and wants
};

}  // namespace writ::plane
