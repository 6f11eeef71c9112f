// PageService: a runner's hold on one writ-pages; PageClient: a machine's owner's on one clone.
//
// PageService: one call starts it; it ends with the value. When it dies by itself (`pidfd` is
// readable), all its clones' owners see the end of their control connections and kill their VMs.
// PageClient: an owner that gets an error here, or the end of the stream, kills its VM: nothing
// answers its faults any more.
// Both: calls wait for their answer, 20 s at most: a server that is silent is "pages.lost" too. One
// thread at a time.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "writ/backends/microvm/pages/page_server.h"
#include "writ/backends/microvm/pages/words.h"
#include "writ/base/child.h"
#include "writ/base/result.h"
#include "writ/base/unique_fd.h"

namespace writ::backends::microvm::pages {

struct PageServiceOptions {
  std::string program;  // writ-pages
  std::optional<ServerIdentity> identity;
  ServingOptions serving;  // all but around_most
};

// All borrowed. Opened for reading; `directory` is where the working set is stored.
struct SnapshotFiles {
  int directory = -1;
  int leaf_table = -1;
  int base = -1;
  struct Overlay {
    int memory = -1;
    int dirty = -1;
  };
  std::vector<Overlay> overlays;  // bottom first
};

class PageService {
 public:
  static Result<PageService> Start(const PageServiceOptions& options);

  Status Open(std::uint64_t id, std::uint64_t memory_bytes, const protocol::Digest& root,
              const SnapshotFiles& files);
  // The control connection of a new clone, for the owner of its machine. `vmm_uid` is the only one
  // whose handshake is taken. kIntegrity "pages.leaf": a clone before has found the memory damaged.
  Result<UniqueFd> AddClone(std::uint64_t snapshot, uid_t vmm_uid);
  Status Close(std::uint64_t id);
  // Lets it store what its last clones have shown. Without it the end is at once.
  void End();

  const Child& process() const { return child_; }
  int pidfd() const { return child_.pidfd(); }

 private:
  PageService(Child child, UniqueFd link) : child_(std::move(child)), link_(std::move(link)) {}
  Status Ask(const RunnerWord& word, const std::vector<int>& fds);

  Child child_;
  UniqueFd link_;
};

class PageClient {
 public:
  explicit PageClient(UniqueFd control) : control_(std::move(control)) {}

  int fd() const { return control_.get(); }  // readable: Receive has something
  // For another owner; words that were kept for Receive are gone.
  UniqueFd TakeControl() { return std::move(control_); }
  // `socket` is borrowed: the listener that the VMM will connect to, or an end of a pair of stream
  // sockets whose other end the VMM inherits. Attached or Failed comes by Receive.
  Status Serve(const pages::Serve& serve, int socket);
  // The next word. kUnavailable "pages.lost": the server is gone.
  Result<ClonesWord> Receive();
  Status GoOn();         // GoesOn
  Status AskCounters();  // Counters comes by Receive
  // What was counted up to now. Words that come before the answer are kept for Receive.
  Result<FaultCounters> ReadCounters();
  // Ends the clone: the last counters. To be called when the VM is dead.
  Result<FaultCounters> End();

 private:
  Result<ClonesWord> ReadWord();

  UniqueFd control_;
  std::vector<ClonesWord> kept_;
};

}  // namespace writ::backends::microvm::pages
