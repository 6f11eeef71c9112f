// PageSupply: the page server of this runner, started when a machine first wants one, and what a
// machine needs of it.
//
// One for the runner: clones of a snapshot share its mapping, what of it is verified, and its
// working set. A server that has died is replaced for the next machine. A snapshot whose files have
// been removed is let go of when the next machine asks. Thread-safe.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "writ/backends/microvm/microvm_backend.h"
#include "writ/backends/microvm/pages/page_service.h"
#include "writ/backends/microvm/snapshots/snapshot_store.h"
#include "writ/base/result.h"
#include "writ/base/unique_fd.h"

namespace writ::backends {

// For the owner of one machine.
struct PageSupplies {
  UniqueFd control;  // its clone's connection to the page server (pages/words.h)
  UniqueFd device;   // /dev/userfaultfd
};

class PageSupply {
 public:
  explicit PageSupply(PageOptions options) : options_(std::move(options)) {}
  ~PageSupply() {
    if (service_) service_->End();
  }
  PageSupply(const PageSupply&) = delete;
  PageSupply& operator=(const PageSupply&) = delete;

  // For a monitor of `vmm_uid`. As root the server gets `server_uid`, which it needs. Why a machine
  // cannot have its memory served: kUnsupported "pages.off", "pages.preload", "pages.identity",
  // "pages.userfaultfd"; "pages.lost", "pages.clones"; kIntegrity "pages.leaf": a clone before has
  // found the memory damaged.
  Result<PageSupplies> Supply(const microvm::SnapshotStore& store,
                              const microvm::HeldSnapshot& held, uid_t vmm_uid,
                              std::optional<uid_t> server_uid);

 private:
  struct Opened {
    std::uint64_t number = 0;
    UniqueFd memory;  // tells whether it has been removed
  };
  Status Start(std::optional<uid_t> uid);
  void LetGoOfRemoved();
  Result<std::uint64_t> NumberOf(const microvm::SnapshotStore& store,
                                 const microvm::HeldSnapshot& held);

  const PageOptions options_;
  std::mutex mutex_;  // guards all below
  std::optional<microvm::pages::PageService> service_;
  std::optional<uid_t> uid_;  // of the service, as root
  std::map<protocol::Digest, Opened> opened_;
  std::uint64_t last_ = 0;
};

}  // namespace writ::backends
