#include "writ/backends/microvm/pages/page_service.h"

#include <sys/socket.h>
#include <sys/time.h>

#include <cerrno>
#include <utility>

namespace writ::backends::microvm::pages {
namespace {

constexpr int kRunnerFd = 3;
constexpr timeval kAnswerBound{20, 0};

// Goes with the socket, whoever gets it.
Status BoundReads(int socket) {
  if (::setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &kAnswerBound, sizeof kAnswerBound) != 0)
    return SysError(errno, "pages.socket", "cannot bound the wait for the page server");
  return {};
}

Error Lost() {
  return Error{ErrorKind::kUnavailable, "pages.lost", "the page server is gone"};
}

}  // namespace

Result<PageService> PageService::Start(const PageServiceOptions& options) {
  WRIT_ASSIGN(SocketPair link, MakeSeqpacketPair());
  WRIT_TRY(BoundReads(link.first.get()));
  SpawnOptions spawn;
  spawn.path = options.program;
  spawn.argv = {options.program,
                "--spin-us=" + std::to_string(options.serving.spin.count()),
                "--spinners=" + std::to_string(options.serving.spinners),
                "--around=" + std::to_string(options.serving.around),
                "--clones=" + std::to_string(options.serving.clones),
                "--observe-ms=" + std::to_string(options.serving.observe.count())};
  if (options.identity) {
    spawn.argv.push_back("--uid=" + std::to_string(options.identity->uid));
    spawn.argv.push_back("--gid=" + std::to_string(options.identity->gid));
  }
  spawn.fds = {{link.second.get(), kRunnerFd}, {2, 2}};
  WRIT_ASSIGN(Child child, Child::Spawn(spawn));
  return PageService(std::move(child), std::move(link.first));
}

Status PageService::Ask(const RunnerWord& word, const std::vector<int>& fds) {
  if (!SendWithFds(link_.get(), Encode(word), fds)) return Lost();
  auto received = ReceiveWithFds(link_.get(), kMaxWordBytes);
  if (!received || received->bytes.empty()) return Lost();
  WRIT_ASSIGN(const ServiceWord answer, DecodeServiceWord(received->bytes));
  if (const auto* failed = std::get_if<Failed>(&answer)) return ToError(*failed);
  return {};
}

Status PageService::Open(std::uint64_t id, std::uint64_t memory_bytes, const protocol::Digest& root,
                         const SnapshotFiles& files) {
  std::vector<int> fds = {files.directory, files.leaf_table, files.base};
  for (const SnapshotFiles::Overlay& overlay : files.overlays) {
    fds.push_back(overlay.memory);
    fds.push_back(overlay.dirty);
  }
  return Ask(OpenSnapshot{id, memory_bytes, root}, fds);
}

Result<UniqueFd> PageService::AddClone(std::uint64_t snapshot, uid_t vmm_uid) {
  WRIT_ASSIGN(SocketPair control, MakeSeqpacketPair());
  WRIT_TRY(BoundReads(control.first.get()));
  WRIT_TRY(Ask(pages::AddClone{snapshot, vmm_uid}, {control.second.get()}));
  return std::move(control.first);
}

Status PageService::Close(std::uint64_t id) {
  return Ask(CloseSnapshot{id}, {});
}

void PageService::End() {
  link_.reset();
  (void)child_.Wait(kLeaveBound + std::chrono::seconds(1)).has_value();
}

Status PageClient::Serve(const pages::Serve& serve, int socket) {
  if (!SendWithFds(control_.get(), Encode(OwnerWord(serve)), {socket})) return Lost();
  WRIT_ASSIGN(const ClonesWord word, ReadWord());
  if (std::holds_alternative<Ready>(word)) return {};
  if (const auto* failed = std::get_if<Failed>(&word)) return ToError(*failed);
  return Lost();
}

Result<ClonesWord> PageClient::ReadWord() {
  auto received = ReceiveWithFds(control_.get(), kMaxWordBytes);
  if (!received || received->bytes.empty()) return Lost();
  return DecodeClonesWord(received->bytes);
}

Result<ClonesWord> PageClient::Receive() {
  if (kept_.empty()) return ReadWord();
  ClonesWord word = std::move(kept_.front());
  kept_.erase(kept_.begin());
  return word;
}

Status PageClient::AskCounters() {
  if (!SendWithFds(control_.get(), Encode(OwnerWord(pages::AskCounters{})), {})) return Lost();
  return {};
}

Status PageClient::GoOn() {
  if (!SendWithFds(control_.get(), Encode(OwnerWord(GoesOn{})), {})) return Lost();
  return {};
}

Result<FaultCounters> PageClient::ReadCounters() {
  WRIT_TRY(AskCounters());
  for (;;) {
    WRIT_ASSIGN(ClonesWord word, ReadWord());
    if (const auto* counters = std::get_if<Counters>(&word)) return counters->counters;
    kept_.push_back(std::move(word));
  }
}

Result<FaultCounters> PageClient::End() {
  ::shutdown(control_.get(), SHUT_WR);
  for (;;) {
    WRIT_ASSIGN(const ClonesWord word, Receive());
    if (const auto* over = std::get_if<Over>(&word)) return over->counters;
  }
}

}  // namespace writ::backends::microvm::pages
