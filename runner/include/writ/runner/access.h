// Access: the way into the running sessions of a runner at work on this machine, for `writ exec`,
// `writ attach`, `writ cp`, `writ pause`, `writ resume` and `writ checkpoint`.
//
// A runner only ever connects out, so there is no way over its plane: it serves a Unix socket in
// its state directory, closed to all but its own user and root (SO_PEERCRED), and only where its
// operator granted something (RunnerConfig::grants.session). One connection is one use:
//   client   kAsk (AccessRequest as JSON), then kInput, kInputEnd, kResize, kSignal as it likes
//   runner   kTaken (JSON) or kFailed; then kOutput, kErrors, kCredit; at the end kDone or kFailed
// A message is its word (1 byte), the length of what follows (4, little-endian) and that. Of input
// at most kInputWindow bytes may be on the way: kCredit gives back what was taken (decimal).
// A connection that ends early ends what it asked for; an attached one lets go.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "writ/base/result.h"
#include "writ/base/terminal_size.h"
#include "writ/base/unique_fd.h"
#include "writ/protocol/json.h"

namespace writ::runner {

enum class AccessWord : char {
  kAsk = 'Q',
  kInput = 'i',
  kInputEnd = 'I',
  kResize = 'w',  // "ROWS COLUMNS"
  kSignal = 's',  // its number
  kTaken = 'A',
  kOutput = 'o',
  kErrors = 'e',
  kCredit = 'c',
  kDone = 'X',    // JSON: exitCode?, signal?, reason?, offset? (of an attached stream)
  kFailed = 'F',  // JSON: code, message, hint
};

inline constexpr std::size_t kMaxAccessPiece = 64 * 1024;
// Less than a socket holds: both sides may wait for the other to read, but never both at once.
inline constexpr std::uint64_t kInputWindow = 64 * 1024;

struct AccessMessage {
  AccessWord word = AccessWord::kAsk;
  std::string bytes;
};

class AccessChannel {
 public:
  explicit AccessChannel(UniqueFd socket);
  int fd() const { return socket_.get(); }

  // Waits for whoever reads slowly; once `hurry_fd` (-1: none) is readable only for kLastWords
  // more, of all that is sent from then on.
  Status Send(AccessWord word, std::string_view bytes, int hurry_fd = -1);
  // Takes what is there without waiting; false: the other side has ended.
  Result<bool> Fill();
  // The next whole message of what was taken; kInvalid "access.bad_message".
  Result<std::optional<AccessMessage>> Next();

 private:
  UniqueFd socket_;
  std::string taken_;
  std::optional<std::chrono::steady_clock::time_point> bound_;  // once there is hurry
};

struct AccessRequest {
  enum class Mode { kExec, kAttach, kCopy, kPause, kResume, kCheckpoint };
  enum class Stream { kOutput, kErrors };
  enum class Direction { kIn, kOut };
  Mode mode = Mode::kExec;
  std::string run_id;
  // exec
  std::vector<std::string> argv;
  std::string cwd;                          // absolute, or from the workspace on
  std::map<std::string, std::string> vars;  // on top of the base environment
  std::optional<TerminalSize> terminal;
  // attach
  std::uint64_t from = 0;
  Stream stream = Stream::kOutput;
  bool input = false;  // keys for the job's terminal
  // copy: a tree stream (writ/base/tree_stream.h) as input, or as output
  Direction direction = Direction::kOut;
  std::string path;
  // pause, resume, checkpoint: nothing more; kTaken once it is done (of a checkpoint with
  // checkpointId, bytes, entries), then kDone

  json::Value ToJson() const;
  static Result<AccessRequest> Parse(std::string_view json);  // strict; object.*, json.*
};
std::string_view AccessModeName(AccessRequest::Mode mode);  // "exec", "attach", "copy", ...

// kNotFound "access.no_runner" where nobody serves it (no runner, or nothing granted), kDenied
// "access.other_user".
Result<AccessChannel> OpenAccess(const std::string& state_dir);
// The other side's kFailed as the error that it was.
Error AccessFailure(std::string_view json);

}  // namespace writ::runner
