// Entry: one command, or one copy of files, that its operator puts into a running session beside
// the job - for Job::Enter. It is held exactly as the job is (identity, view, system calls, limits,
// network, its own landlock domain), gets no secret, counts as the job's use, and ends with the
// session at the latest.
//
// Streams are descriptors, so that a tier whose sessions are on another kernel can give the ends of
// its own transport.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "writ/backends/plan.h"
#include "writ/base/child.h"
#include "writ/base/result.h"
#include "writ/base/terminal_size.h"
#include "writ/base/tree_stream.h"

namespace writ::backends {

struct EntryPlan {
  enum class Kind {
    kCommand,
    kCopyOut,     // sends `path` as a tree stream on its output
    kCopyIn,      // makes the tree stream on its input at `path`; how that went is a stream on its
                  // output that holds its end alone
    kCheckpoint,  // of a job in a machine: holds it, sends what has changed of its workspace on its
                  // output (a tree stream of backends/microvm), lets it go on. Exit 0: that is all
                  // of it, and nothing of the job ran meanwhile; else as below
  };
  Kind kind = Kind::kCommand;
  std::vector<std::string> argv;  // as Plan::argv
  std::string cwd;                // absolute as the job sees it, or relative to the workspace
  Environment env;                // on top of the base environment; not the job's
  std::optional<TerminalSize> terminal;
  std::string path;   // absolute as the job sees it, or relative to the workspace
  TreeLimits limits;  // of a copy
};

// How a checkpoint ends that was none.
inline constexpr int kCheckpointUnread = 1;  // the workspace could not be read, or nobody took it
inline constexpr int kCheckpointNotHeld = 2;

struct EntryEnd {
  // Of its first process, only if observed: 127 and 126 as for jobs. What that left behind goes on
  // until the session ends.
  std::optional<ExitStatus> status;
  std::string reason;  // where there is no status
};

// Belongs to one thread, which may be another than the job's; outlived by its job.
class Entry {
 public:
  virtual ~Entry() = default;  // ends what still runs of it: hang-up, then SIGKILL to its group

  // Not blocking, closed by the entry; -1 where there is none. With a terminal input and output are
  // the same descriptor, and there are no errors.
  virtual int input() const = 0;
  virtual int output() const = 0;
  virtual int errors() const = 0;
  virtual void CloseInput() = 0;

  virtual Status Resize(TerminalSize size) = 0;  // kUnsupported without a terminal
  virtual Status Signal(int signal) = 0;         // to its process group

  virtual int event_fd() const = 0;  // readable once End has a value
  virtual std::optional<EntryEnd> End() const = 0;
};

// The way to the terminal of the job itself; may be used while Job::Watch runs in another thread.
class TerminalInput {
 public:
  virtual ~TerminalInput() = default;
  virtual int fd() const = 0;  // to be written, not blocking
  virtual Status Resize(TerminalSize size) = 0;
};

}  // namespace writ::backends
