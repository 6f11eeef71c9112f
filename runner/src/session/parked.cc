#include "session/parked.h"

#include "writ/base/file.h"
#include "writ/base/paths.h"

namespace writ::runner {

Status ParkBundle(const std::string& state_dir, const protocol::RunId& run, json::Value bundle,
                  const ParkReason& why) {
  WRIT_ASSIGN(UniqueFd state, OpenDirectory(state_dir));
  WRIT_ASSIGN(UniqueFd dir, MakeDirectoriesBeneath(state.get(), "parked", 0700));
  // The reason first: whoever finds a bundle finds its reason.
  if (!why.code.empty()) {
    json::Object members{{"runId", run}, {"code", why.code}, {"message", why.message}};
    if (!why.late.empty()) members.Set("late", why.late);
    WRIT_TRY(WriteFileAtomic(dir.get(), run.text() + ".why.json",
                             json::Write(std::move(members)) + "\n", 0600));
  }
  return WriteFileAtomic(dir.get(), run.text() + ".bundle.json", json::Write(bundle) + "\n", 0600);
}

}  // namespace writ::runner
