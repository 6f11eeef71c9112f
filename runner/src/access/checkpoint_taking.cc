#include "access/checkpoint_taking.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "writ/backends/microvm/tree_contents.h"
#include "writ/base/file.h"

namespace writ::runner {
namespace {

using std::chrono::steady_clock;

constexpr std::size_t kPiece = 256 * 1024;
// The job stands still meanwhile.
constexpr std::chrono::minutes kBound{10};

Error Cut(const std::string& what) {
  return Error{ErrorKind::kUnavailable, "checkpoint.cut", what};
}

class Taking {
 public:
  explicit Taking(const CheckpointOrder& order)
      : order_(order),
        scan_(order.redactor),
        contents_({}, {[this] { scan_ = SecretScan(order_.redactor); },
                       [this](std::string_view bytes) {
                         if (order_.redactor.empty()) return;
                         secret_ = secret_ || scan_.Write(bytes).has_value();
                       }}) {}

  Result<Checkpoint> Run() {
    const auto bound = steady_clock::now() + kBound;
    for (;;) {
      const std::optional<backends::EntryEnd> end = order_.entry.End();
      WRIT_ASSIGN(const bool more, Read());  // also what was written before the end
      if (more) continue;
      if (end) return Judge(*end);
      const auto left =
          std::chrono::ceil<std::chrono::milliseconds>(bound - steady_clock::now()).count();
      if (left <= 0)
        return Cut("the checkpoint was not there after " + std::to_string(kBound.count()) +
                   " minutes");
      pollfd fds[3] = {{open_ ? order_.entry.output() : -1, POLLIN, 0},
                       {order_.entry.event_fd(), POLLIN, 0},
                       {order_.hurry_fd, POLLIN, 0}};
      if (::poll(fds, 3, static_cast<int>(left)) < 0 && errno != EINTR)
        return SysError(errno, "checkpoint.cut", "cannot wait for the checkpoint");
      if (fds[2].revents != 0 && !order_.entry.End())
        return Cut("the session ended before its checkpoint was there");
    }
  }

 private:
  // Whether there was something.
  Result<bool> Read() {
    const ssize_t n = open_ ? ::read(order_.entry.output(), piece_.data(), piece_.size()) : 0;
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) return errno == EINTR;
    open_ = n > 0;
    if (n <= 0) return false;
    const std::string_view bytes(piece_.data(), static_cast<std::size_t>(n));
    bytes_ += bytes.size();
    if (bytes_ > order_.max_bytes)
      return Error{ErrorKind::kInvalid, "checkpoint.too_large",
                   "the job has changed more than a checkpoint may have (" +
                       std::to_string(order_.max_bytes) + " bytes)",
                   "limits.maxBlobBytes in runner.json"};
    WRIT_TRY(contents_.Add(bytes));
    hasher_.Update(bytes);
    WRIT_TRY(WriteAll(order_.file, bytes));
    return true;
  }

  Result<Checkpoint> Judge(const backends::EntryEnd& end) {
    if (!end.status) return Cut("the session ended before its checkpoint was there");
    const int code = end.status->ShellCode();
    if (code == backends::kCheckpointNotHeld)
      return Error{ErrorKind::kUnavailable, "checkpoint.not_held",
                   "the job could not be made to wait, so there is no checkpoint", "try again"};
    if (code != 0 || !contents_.complete())
      return Cut("the machine did not give out all that the job has changed");
    if (secret_)
      return Error{ErrorKind::kDenied, "checkpoint.secret",
                   "the value of a released secret stands in the workspace: there is no checkpoint",
                   "keep secrets out of the workspace"};
    return Checkpoint{hasher_.Finish(), bytes_, contents_.entries()};
  }

  const CheckpointOrder& order_;
  SecretScan scan_;
  bool secret_ = false;
  backends::microvm::TreeContents contents_;
  protocol::Sha256Hasher hasher_;
  std::uint64_t bytes_ = 0;
  bool open_ = true;
  std::string piece_ = std::string(kPiece, '\0');
};

}  // namespace

Result<Checkpoint> TakeCheckpoint(const CheckpointOrder& order) {
  return Taking(order).Run();
}

}  // namespace writ::runner
