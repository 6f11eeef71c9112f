#include "session/parked.h"

#include "writ/base/file.h"
#include "writ/base/paths.h"

namespace writ::runner {

Status ParkBundle(const std::string& state_dir, const protocol::RunId& run, json::Value bundle) {
  WRIT_ASSIGN(UniqueFd state, OpenDirectory(state_dir));
  WRIT_ASSIGN(UniqueFd dir, MakeDirectoriesBeneath(state.get(), "parked", 0700));
  return WriteFileAtomic(dir.get(), run.text() + ".bundle.json", json::Write(bundle) + "\n", 0600);
}

}  // namespace writ::runner
