#include "checkpoint.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/fsuid.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <thread>
#include <utility>

#include "writ/backends/microvm/tree_stream.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"

namespace writ::backends::microvm {
namespace {

constexpr std::size_t kPiece = 64 * 1024;
constexpr int kRunning = -1;

class CheckpointEntry final : public Entry {
 public:
  // `ended`: an eventfd. A socket, because its reader can end it for whoever writes, too.
  CheckpointEntry(CheckpointParts parts, SocketPair stream, UniqueFd ended)
      : output_(std::move(stream.first)),
        ended_(std::move(ended)),
        thread_([this, parts = std::move(parts), out = std::move(stream.second)]() mutable {
          Take(parts, std::move(out));
        }) {}
  ~CheckpointEntry() override { GiveUp(); }

  int input() const override { return -1; }
  int output() const override { return output_.get(); }
  int errors() const override { return -1; }
  void CloseInput() override {}
  Status Resize(TerminalSize) override {
    return Error{ErrorKind::kUnsupported, "agent.checkpoint", "a checkpoint has no terminal"};
  }
  // Whichever: those that ask for its end are the only ones that it is sent.
  Status Signal(int) override {
    GiveUp();
    return {};
  }
  int event_fd() const override { return ended_.get(); }
  std::optional<EntryEnd> End() const override {
    const int code = exit_code_;
    if (code == kRunning) return std::nullopt;
    ExitStatus status;
    status.code = code;
    return EntryEnd{status, {}};
  }

 private:
  void GiveUp() { ::shutdown(output_.get(), SHUT_RD); }
  void Take(const CheckpointParts& parts, UniqueFd out) {
    const bool held = parts.hold && parts.hold().has_value();
    int code = kCheckpointNotHeld;
    if (held) code = WriteTree(parts.upper.get(), out.get()) ? 0 : kCheckpointUnread;
    if (parts.release) parts.release();
    out.reset();
    exit_code_ = code;
    ::eventfd_write(ended_.get(), 1);
  }

  UniqueFd output_;
  UniqueFd ended_;
  std::atomic<int> exit_code_{kRunning};
  std::jthread thread_;  // last: it uses the above
};

// File access as another, of this thread alone: what is made is theirs, and what they may not do
// is not done.
class ActingAs {
 public:
  explicit ActingAs(TreeOwner owner) {
    ::setfsgid(owner.gid);
    ::setfsuid(owner.uid);
  }
  ~ActingAs() {
    ::setfsuid(::geteuid());
    ::setfsgid(::getegid());
  }
  ActingAs(const ActingAs&) = delete;
  ActingAs& operator=(const ActingAs&) = delete;
};

}  // namespace

Result<std::unique_ptr<Entry>> BeginCheckpoint(CheckpointParts parts) {
  UniqueFd ended(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!ended) return SysError(errno, "agent.checkpoint", "cannot make an eventfd");
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    return SysError(errno, "agent.checkpoint", "cannot make a socket pair");
  SocketPair stream{UniqueFd(ends[0]), UniqueFd(ends[1])};
  ::fcntl(stream.first.get(), F_SETFL, O_NONBLOCK);
  return std::unique_ptr<Entry>(
      std::make_unique<CheckpointEntry>(std::move(parts), std::move(stream), std::move(ended)));
}

Status CarryOut(const std::string& file, const std::string& workspace, TreeOwner owner) {
  UniqueFd stream(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!stream) return SysError(errno, "agent.checkpoint", "cannot open the checkpoint");
  WRIT_ASSIGN(UniqueFd tree, OpenDirectory(workspace));
  const ActingAs theirs(owner);
  TreeReader reader(std::move(tree), {});
  std::string piece(kPiece, '\0');
  for (;;) {
    const ssize_t n = ::read(stream.get(), piece.data(), piece.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return SysError(errno, "agent.checkpoint", "cannot read the checkpoint");
    if (n == 0) break;
    WRIT_TRY(reader.Add(std::string_view(piece).substr(0, static_cast<std::size_t>(n))));
  }
  if (reader.complete()) return {};
  return Error{ErrorKind::kInvalid, "agent.checkpoint", "the checkpoint has no end"};
}

}  // namespace writ::backends::microvm
