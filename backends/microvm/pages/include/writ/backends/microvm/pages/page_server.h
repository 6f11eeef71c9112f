// PageServer: serves the memory of snapshots to clones of them, as the runner says (words.h).
//
// One process of this serves all clones of a host user, or one VM: whoever starts it decides by how
// many it starts. What is shared between clones - one mapping and one set of verified leaves per
// snapshot, one working set - is shared within a process; the page cache is shared by all.
// It lives as long as the runner's connection, and up to kLeaveBound more for clones that are
// ending, whose working set is still to be stored. Others end with it: their owners find the end of
// their streams, and their faults stay unanswered as long as the VMM keeps its own descriptor.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "writ/backends/microvm/event_loop.h"
#include "writ/backends/microvm/pages/serving.h"
#include "writ/backends/microvm/pages/words.h"
#include "writ/base/result.h"
#include "writ/base/unique_fd.h"

namespace writ::backends::microvm::pages {

class Clone;
class ServedSnapshot;

inline constexpr std::chrono::seconds kLeaveBound{2};

class PageServer {
 public:
  // In the loop's thread; stops the loop when the runner is gone.
  PageServer(EventLoop& loop, UniqueFd runner, const ServingOptions& options);
  ~PageServer();
  PageServer(const PageServer&) = delete;
  PageServer& operator=(const PageServer&) = delete;

 private:
  void OnRunner();
  void Leave();
  Status OnWord(std::string_view bytes, std::vector<UniqueFd> fds);
  Status Add(const AddClone& add, std::vector<UniqueFd> fds);

  EventLoop& loop_;
  const UniqueFd runner_;
  const ServingOptions options_;
  std::atomic<unsigned> spinning_{0};
  EventLoop::WatchId watch_ = 0;
  bool leaving_ = false;  // the runner has gone
  std::map<std::uint64_t, std::shared_ptr<ServedSnapshot>> snapshots_;
  std::uint64_t last_clone_ = 0;
  std::map<std::uint64_t, std::unique_ptr<Clone>> clones_;
};

struct ServerIdentity {
  uid_t uid = 0;
  gid_t gid = 0;
};

// The whole of writ-pages: gives up what it does not need - every descriptor but 0, 1, 2 and
// `runner`, its uid (as root only with `identity`, which is not 0), the right to gain any, all
// system calls but those it serves with - and serves until the runner is gone. 0, or 1 with a
// sentence on standard error.
int RunPageServer(int runner, const std::optional<ServerIdentity>& identity,
                  const ServingOptions& options);

}  // namespace writ::backends::microvm::pages
