#include "writ/base/child.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace writ {
namespace {

// posix_spawn's file actions run in order, so a target number may still be the source of a later
// one; sources are first moved above every target.
class FileActions {
 public:
  FileActions() { posix_spawn_file_actions_init(&actions_); }
  ~FileActions() { posix_spawn_file_actions_destroy(&actions_); }
  FileActions(const FileActions&) = delete;
  FileActions& operator=(const FileActions&) = delete;
  posix_spawn_file_actions_t* get() { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_;
};

class SpawnAttributes {
 public:
  SpawnAttributes() { posix_spawnattr_init(&attributes_); }
  ~SpawnAttributes() { posix_spawnattr_destroy(&attributes_); }
  SpawnAttributes(const SpawnAttributes&) = delete;
  SpawnAttributes& operator=(const SpawnAttributes&) = delete;
  posix_spawnattr_t* get() { return &attributes_; }

 private:
  posix_spawnattr_t attributes_;
};

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> out;
  out.reserve(strings.size() + 1);
  for (const std::string& s : strings) out.push_back(const_cast<char*>(s.c_str()));
  out.push_back(nullptr);
  return out;
}

}  // namespace

Result<Child> Child::Spawn(const SpawnOptions& options) {
  for (const auto* list : {&options.argv, &options.env}) {
    for (const std::string& s : *list) {
      if (s.find('\0') != std::string::npos)
        return Error{ErrorKind::kInvalid, "base.nul_in_argument",
                     "an argument or variable holds a NUL byte"};
    }
  }
  int highest = 2;
  for (const auto& [ours, theirs] : options.fds) highest = std::max(highest, theirs);

  FileActions actions;
  std::vector<UniqueFd> moved;  // sources, at numbers above every target
  for (const auto& [ours, theirs] : options.fds) {
    int fd = ::fcntl(ours, F_DUPFD_CLOEXEC, highest + 1);
    if (fd < 0)
      return SysError(errno, "base.dup_failed", "cannot duplicate a descriptor for a child");
    moved.emplace_back(fd);
  }
  for (int fd : {0, 1, 2}) {
    bool named = std::any_of(options.fds.begin(), options.fds.end(),
                             [fd](const auto& p) { return p.second == fd; });
    if (!named)
      posix_spawn_file_actions_addopen(actions.get(), fd, "/dev/null",
                                       fd == 0 ? O_RDONLY : O_WRONLY, 0);
  }
  std::vector<bool> used(static_cast<std::size_t>(highest) + 1, false);
  for (std::size_t i = 0; i < options.fds.size(); ++i) {
    posix_spawn_file_actions_adddup2(actions.get(), moved[i].get(), options.fds[i].second);
    used[static_cast<std::size_t>(options.fds[i].second)] = true;
  }
  // Gaps between the named targets may hold inherited descriptors; those of ours are O_CLOEXEC, a
  // library's may not be.
  posix_spawn_file_actions_addclosefrom_np(actions.get(), highest + 1);
  posix_spawn_file_actions_addchdir_np(actions.get(), options.cwd.c_str());

  SpawnAttributes attributes;
  sigset_t blocked;
  sigset_t all;
  sigemptyset(&blocked);
  for (int signal : options.blocked_signals) sigaddset(&blocked, signal);
  sigfillset(&all);
  posix_spawnattr_setsigmask(attributes.get(), &blocked);
  posix_spawnattr_setsigdefault(attributes.get(), &all);
  short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
  if (options.new_session) flags |= POSIX_SPAWN_SETSID;
  posix_spawnattr_setflags(attributes.get(), flags);

  std::vector<char*> argv = Pointers(options.argv);
  std::vector<char*> env = Pointers(options.env);
  Child child;
  int err = posix_spawn(&child.pid_, options.path.c_str(), actions.get(), attributes.get(),
                        argv.data(), env.data());
  if (err != 0) {
    child.pid_ = -1;
    return SysError(err, "base.spawn_failed", "cannot start " + options.path);
  }
  // Not yet reaped, so the pid is still this child's.
  child.pidfd_.reset(static_cast<int>(::syscall(SYS_pidfd_open, child.pid_, 0)));
  if (!child.pidfd_) {
    int saved = errno;
    ::kill(child.pid_, SIGKILL);
    ::waitpid(child.pid_, nullptr, 0);
    child.pid_ = -1;
    return SysError(saved, "base.pidfd_failed",
                    "cannot open a pidfd (Linux 5.3 or newer is needed)");
  }
  return child;
}

Child::Child(Child&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      pidfd_(std::move(other.pidfd_)),
      status_(other.status_) {}

Child& Child::operator=(Child&& other) noexcept {
  if (this != &other) {
    Child old(std::move(*this));
    pid_ = std::exchange(other.pid_, -1);
    pidfd_ = std::move(other.pidfd_);
    status_ = other.status_;
  }
  return *this;
}

Child::~Child() {
  if (!running()) return;
  (void)Signal(SIGKILL).has_value();
  (void)Wait(std::nullopt).has_value();
}

Status Child::Signal(int signal) const {
  if (!running()) return {};
  if (::syscall(SYS_pidfd_send_signal, pidfd_.get(), signal, nullptr, 0) != 0 && errno != ESRCH)
    return SysError(errno, "base.signal_failed", "cannot signal a child process");
  return {};
}

Result<std::optional<ExitStatus>> Child::Wait(std::optional<std::chrono::milliseconds> timeout) {
  if (status_) return status_;
  if (!pidfd_) return Error{ErrorKind::kInternal, "base.no_child", "there is no child to wait for"};
  auto deadline = std::chrono::steady_clock::now() + timeout.value_or(std::chrono::milliseconds(0));
  for (;;) {
    int wait_ms = -1;
    if (timeout) {
      auto left =
          std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
      wait_ms = static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 1 << 30));
    }
    pollfd poll_fd{pidfd_.get(), POLLIN, 0};
    int ready = ::poll(&poll_fd, 1, wait_ms);
    if (ready < 0 && errno == EINTR) continue;
    if (ready < 0) return SysError(errno, "base.poll_failed", "cannot wait for a child process");
    if (ready == 0) return std::optional<ExitStatus>{};
    break;
  }
  siginfo_t info{};
  int rc;
  do {
    rc = ::waitid(P_PIDFD, static_cast<id_t>(pidfd_.get()), &info, WEXITED);
  } while (rc != 0 && errno == EINTR);
  if (rc != 0) return SysError(errno, "base.wait_failed", "cannot reap a child process");
  ExitStatus status;
  if (info.si_code == CLD_EXITED) {
    status.code = info.si_status;
  } else {
    status.signalled = true;
    status.signal = info.si_status;
  }
  status_ = status;
  pid_ = -1;
  return status_;
}

}  // namespace writ
