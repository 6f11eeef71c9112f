// Child: a process that we started, held by its pidfd, killed and reaped when its owner goes.
//
// The daemon is multi-threaded, so nothing of ours runs between fork and exec here: posix_spawn
// (CLONE_VM|CLONE_VFORK) starts a program, and whatever must be set up in the child is done by a
// small single-threaded program of ours (backends/launch). Bare pids are never kept across a wait.
// Thread-safety: one owner at a time; Wait may run in one thread while Signal is called in another.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <csignal>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "writ/base/result.h"
#include "writ/base/unique_fd.h"

namespace writ {

// What wait(2) told, never invented: an unobserved status is "no ExitStatus" (L17).
struct ExitStatus {
  bool signalled = false;
  int code = 0;    // exit code when !signalled
  int signal = 0;  // signal number when signalled
  // Shell convention: 128+n for signal n.
  int ShellCode() const { return signalled ? 128 + signal : code; }
};

struct SpawnOptions {
  std::string path;               // absolute path of the program; no PATH search
  std::vector<std::string> argv;  // argv[0] included
  std::vector<std::string> env;   // "NAME=value"; exactly this, nothing inherited (L20)
  std::string cwd = "/";
  // (ours, theirs): our descriptor appears in the child as `theirs`. 0, 1 and 2 that are not named
  // are /dev/null. Everything else is closed.
  std::vector<std::pair<int, int>> fds;
  bool new_session = true;                // setsid, so that no signal of our terminal reaches it
  std::vector<int> blocked_signals = {};  // the child starts with these blocked; none else is
};

class Child {
 public:
  static Result<Child> Spawn(const SpawnOptions& options);

  Child() = default;
  Child(Child&& other) noexcept;
  Child& operator=(Child&& other) noexcept;
  ~Child();  // SIGKILL and reap where it still runs

  bool running() const { return pidfd_.valid() && !status_; }
  int pidfd() const { return pidfd_.get(); }  // readable (poll) once it has ended
  pid_t pid() const { return pid_; }          // for messages only; valid until reaped
  Status Signal(int signal) const;            // by pidfd; no error when it has already ended
  // Waits until it ends or `timeout` passes (nullopt = no limit); reaps. nullopt result: still
  // running.
  Result<std::optional<ExitStatus>> Wait(std::optional<std::chrono::milliseconds> timeout);

 private:
  pid_t pid_ = -1;
  UniqueFd pidfd_;
  std::optional<ExitStatus> status_;
};

}  // namespace writ
