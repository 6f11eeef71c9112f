#include "writ/backends/microvm/pages/page_server.h"

#include <fcntl.h>
#include <poll.h>

#include <cerrno>
#include <string>
#include <utility>

#include "clone.h"
#include "clone_thread.h"
#include "confinement.h"
#include "served_snapshot.h"
#include "writ/base/file.h"

namespace writ::backends::microvm::pages {

PageServer::PageServer(EventLoop& loop, UniqueFd runner, const ServingOptions& options)
    : loop_(loop), runner_(std::move(runner)), options_(options) {
  (void)::fcntl(runner_.get(), F_SETFL, ::fcntl(runner_.get(), F_GETFL) | O_NONBLOCK);
  watch_ = loop_.Add(runner_.get(), POLLIN, [this](short) { OnRunner(); });
}

PageServer::~PageServer() {
  loop_.Remove(watch_);
}

void PageServer::OnRunner() {
  auto received = ReceiveWithFds(runner_.get(), kMaxWordBytes);
  if (!received && received.error().sys_errno == EAGAIN) return;
  if (!received || received->bytes.empty()) return Leave();
  Status done = OnWord(received->bytes, std::move(received->fds));
  const ServiceWord answer = done ? ServiceWord(Done{}) : ServiceWord(ToFailed(done.error()));
  if (!SendWithFds(runner_.get(), Encode(answer), {})) Leave();
}

void PageServer::Leave() {
  leaving_ = true;
  loop_.Remove(watch_);
  if (clones_.empty()) return loop_.Stop();
  loop_.At(EventLoop::Clock::now() + kLeaveBound, [this] { loop_.Stop(); });
}

Status PageServer::OnWord(std::string_view bytes, std::vector<UniqueFd> fds) {
  WRIT_ASSIGN(const RunnerWord word, DecodeRunnerWord(bytes));
  if (const auto* open = std::get_if<OpenSnapshot>(&word)) {
    if (snapshots_.contains(open->id))
      return Error{ErrorKind::kConflict, "pages.snapshot", "a snapshot of that number is open"};
    WRIT_ASSIGN(snapshots_[open->id], ServedSnapshot::Open(*open, std::move(fds)));
    return {};
  }
  if (const auto* add = std::get_if<AddClone>(&word)) return Add(*add, std::move(fds));
  if (snapshots_.erase(std::get<CloseSnapshot>(word).id) == 0)
    return Error{ErrorKind::kNotFound, "pages.snapshot", "no snapshot of that number is open"};
  return {};
}

Status PageServer::Add(const AddClone& add, std::vector<UniqueFd> fds) {
  const auto snapshot = snapshots_.find(add.snapshot);
  if (snapshot == snapshots_.end())
    return Error{ErrorKind::kNotFound, "pages.snapshot", "no snapshot of that number is open"};
  if (clones_.size() >= options_.clones)
    return Error{ErrorKind::kOverloaded, "pages.clones",
                 "the page server has as many clones as it may have"};
  if (snapshot->second->memory().damaged())
    return Error{ErrorKind::kIntegrity, "pages.leaf",
                 "a clone before has met a leaf of the snapshot's memory that is not what its "
                 "manifest says"};
  if (fds.size() != 1)
    return Error{ErrorKind::kInvalid, "pages.word", "a clone has one control connection"};
  const std::uint64_t id = ++last_clone_;
  clones_[id] = std::make_unique<Clone>(loop_, std::move(fds[0]), static_cast<uid_t>(add.vmm_uid),
                                        snapshot->second, options_, spinning_, [this, id] {
                                          clones_.erase(id);
                                          if (leaving_ && clones_.empty()) loop_.Stop();
                                        });
  return {};
}

int RunPageServer(int runner, const std::optional<ServerIdentity>& identity,
                  const ServingOptions& options) {
  Status ready = ShedAll(runner, identity);
  if (ready) ready = PrepareThreads();
  if (!ready) {
    (void)WriteAll(2, "writ-pages: " + ready.error().ToString() + "\n").has_value();
    return 1;
  }
  EventLoop loop;
  PageServer server(loop, UniqueFd(runner), options);
  loop.Run();
  // Without the destructors: threads of clones may sit in calls. All of it ends with the process.
  ::_exit(0);
}

}  // namespace writ::backends::microvm::pages
