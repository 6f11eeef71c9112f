#include "hooks/hook_process.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <memory>
#include <set>

#include "writ/base/child.h"
#include "writ/base/encoding.h"
#include "writ/base/file.h"

namespace writ::runner {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::string_view kMark = "WRIT_HOOK_MARK=";
constexpr milliseconds kKillLimit{5'000};

struct Process {
  pid_t pid = 0, parent = 0, session = 0;
};

std::string ReadProc(int proc, const std::string& path, std::size_t most) {
  std::string out;
  UniqueFd fd(openat(proc, path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return out;
  out.resize(most);
  std::size_t have = 0;
  while (have < most) {
    ssize_t n = read(fd.get(), out.data() + have, most - have);
    if (n <= 0) break;
    have += static_cast<std::size_t>(n);
  }
  out.resize(have);
  return out;
}

// /proc/PID/stat: "pid (name) state ppid pgrp session ..."; the name may hold anything.
std::optional<Process> ReadStat(int proc, const std::string& pid) {
  const std::string text = ReadProc(proc, pid + "/stat", 4096);
  std::size_t at = text.rfind(')');
  if (at == std::string::npos) return std::nullopt;
  Process out;
  std::from_chars(pid.data(), pid.data() + pid.size(), out.pid);
  if (text.size() > at + 2 && text[at + 2] == 'Z') return std::nullopt;  // dead already
  std::string_view rest = std::string_view(text).substr(at + 1);
  int field = 0;
  while (!rest.empty()) {
    while (!rest.empty() && rest.front() == ' ') rest.remove_prefix(1);
    std::string_view word = rest.substr(0, rest.find(' '));
    if (field == 1) std::from_chars(word.data(), word.data() + word.size(), out.parent);
    if (field == 3) {
      std::from_chars(word.data(), word.data() + word.size(), out.session);
      return out;
    }
    rest.remove_prefix(word.size());
    ++field;
  }
  return std::nullopt;
}

// One look over /proc: SIGKILL to everything of the tree. How many were found.
std::size_t KillOnce(pid_t root, const std::string& mark, std::set<pid_t>& known) {
  std::unique_ptr<DIR, int (*)(DIR*)> dir(opendir("/proc"), closedir);
  if (!dir) return 0;
  const int proc = dirfd(dir.get());
  std::vector<std::pair<std::string, Process>> all;
  while (const dirent* entry = readdir(dir.get())) {
    const std::string name = entry->d_name;
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    struct stat info {};
    if (fstatat(proc, name.c_str(), &info, 0) != 0 || info.st_uid != geteuid()) continue;
    if (auto process = ReadStat(proc, name)) all.emplace_back(name, *process);
  }
  // Parents before children, whatever order the kernel gave them in.
  for (bool grown = true; grown;) {
    grown = false;
    for (const auto& [name, process] : all)
      if (known.count(process.pid) == 0 && process.pid != getpid() &&
          (process.session == root || known.count(process.parent) != 0)) {
        known.insert(process.pid);
        grown = true;
      }
  }
  std::size_t found = 0;
  for (const auto& [name, process] : all) {
    if (process.pid == getpid()) continue;
    // Held before it is looked at, so that a pid that is used again is never hit.
    UniqueFd fd(static_cast<int>(syscall(SYS_pidfd_open, process.pid, 0)));
    if (!fd) continue;
    const bool marked = ReadProc(proc, name + "/environ", 1 << 16).find(mark) != std::string::npos;
    if (!marked) {
      auto again = ReadStat(proc, name);
      if (!again || again->session != process.session) continue;
      if (again->session != root && known.count(again->parent) == 0) continue;
    }
    known.insert(process.pid);
    ++found;
    (void)syscall(SYS_pidfd_send_signal, fd.get(), SIGKILL, nullptr, 0);
  }
  return found;
}

void KillTree(pid_t root, const std::string& mark) {
  std::set<pid_t> known{root};
  const auto give_up = steady_clock::now() + kKillLimit;
  while (KillOnce(root, mark, known) > 0 && steady_clock::now() < give_up) {
    pollfd nothing{};
    (void)poll(&nothing, 0, 1);  // the killed need a moment to be gone from /proc
  }
}

// write(2) to a pipe whose reader may be gone, without the signal.
ssize_t WriteQuietly(int fd, std::string_view bytes) {
  sigset_t pipe_signal, before;
  sigemptyset(&pipe_signal);
  sigaddset(&pipe_signal, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
  const ssize_t n = write(fd, bytes.data(), bytes.size());
  const int error = errno;
  if (n < 0 && error == EPIPE && sigismember(&before, SIGPIPE) == 0) {
    const timespec at_once{};
    (void)sigtimedwait(&pipe_signal, nullptr, &at_once);
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  errno = error;
  return n;
}

struct Pipe {
  UniqueFd read, write;
};
Result<Pipe> MakePipe() {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) return SysError(errno, "hook.start", "could not make a pipe");
  return Pipe{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

// The warden's last words; empty: it went without.
std::string Hear(int control) {
  const auto give_up = steady_clock::now() + kKillLimit * 2;
  for (;;) {
    const auto left = std::chrono::ceil<milliseconds>(give_up - steady_clock::now());
    if (left.count() <= 0) return {};
    pollfd entry{control, POLLIN, 0};
    if (poll(&entry, 1, static_cast<int>(left.count())) <= 0) continue;
    char words[64];
    const ssize_t n = recv(control, words, sizeof words, MSG_DONTWAIT);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    return n > 0 ? std::string(words, static_cast<std::size_t>(n)) : std::string();
  }
}

// "exit 3", "exit 3 left" -> 3; anything else: it did not end by itself.
std::optional<int> ExitCodeOf(std::string_view said) {
  constexpr std::string_view kExit = "exit ";
  if (!said.starts_with(kExit)) return std::nullopt;
  said.remove_prefix(kExit.size());
  int code = 0;
  const auto [end, error] = std::from_chars(said.data(), said.data() + said.size(), code);
  if (error != std::errc() || code < 0 || code > 255) return std::nullopt;
  return code;
}

}  // namespace

Result<HookProcessEnd> RunHookProcess(const HookCommand& command) {
  WRIT_ASSIGN(Pipe in, MakePipe());
  WRIT_ASSIGN(Pipe out, MakePipe());
  (void)fcntl(in.write.get(), F_SETFL, O_NONBLOCK);
  (void)fcntl(out.read.get(), F_SETFL, O_NONBLOCK);
  const std::string mark = std::string(kMark) + HexEncode(RandomBytes(16));
  SpawnOptions spawn;
  WRIT_ASSIGN(SocketPair control, MakeSeqpacketPair());
  spawn.path = command.warden;
  spawn.argv = {"writ-launch", "--hook", command.path};
  spawn.argv.insert(spawn.argv.end(), command.args.begin(), command.args.end());
  spawn.env = command.env;
  spawn.env.push_back(mark);
  spawn.fds = {
      {in.read.get(), 0}, {out.write.get(), 1}, {out.write.get(), 2}, {control.second.get(), 3}};
  const auto begin = steady_clock::now();
  auto spent = [&] {
    return std::chrono::duration_cast<milliseconds>(steady_clock::now() - begin);
  };
  WRIT_ASSIGN(Child child, Child::Spawn(spawn));
  const pid_t root = child.pid();
  in.read.reset();
  out.write.reset();
  control.second.reset();

  HookProcessEnd end;
  std::string_view left = command.input;
  auto take = [&] {
    char piece[16 * 1024];
    for (;;) {
      ssize_t n = read(out.read.get(), piece, sizeof piece);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return n == 0;  // true: nobody can write any more
      const std::size_t got = static_cast<std::size_t>(n);
      const std::size_t room = std::min(kMaxHookOutput - end.output.size(), got);
      end.output.append(piece, room);
      end.left_out += got - room;
      if (spent() >= command.deadline) return false;  // a flood is not read for ever
    }
  };
  bool output_open = true;
  for (;;) {
    const milliseconds rest = command.deadline - spent();
    if (rest.count() <= 0) {
      end.timed_out = true;
      break;
    }
    pollfd fds[3] = {{control.first.get(), POLLIN, 0},
                     {output_open ? out.read.get() : -1, POLLIN, 0},
                     {left.empty() ? -1 : in.write.get(), POLLOUT, 0}};
    if (poll(fds, 3, static_cast<int>(std::min<std::int64_t>(rest.count(), 60'000))) < 0 &&
        errno != EINTR)
      return SysError(errno, "hook.watch", "could not wait for a hook");
    if (fds[1].revents != 0) output_open = !take();
    if (fds[2].revents != 0) {
      ssize_t n = WriteQuietly(in.write.get(), left);
      if (n > 0) left.remove_prefix(static_cast<std::size_t>(n));
      if (n < 0 && errno != EAGAIN && errno != EINTR) left = {};  // it does not want to read
    }
    if (left.empty()) in.write.reset();
    if (fds[0].revents != 0) break;
  }
  end.took = std::max(spent(), milliseconds(1));  // L17
  // The warden ends the tree when this end is shut, and says how it went.
  (void)shutdown(control.first.get(), SHUT_WR);
  const std::string said = Hear(control.first.get());
  if (said.empty() || said.ends_with(" left"))
    KillTree(root, mark);  // before it is reaped: its id is still its own
  if (auto gone = child.Wait(kKillLimit); !gone) return std::move(gone).error();
  if (output_open) (void)take();
  if (said == "start")
    return Error{.kind = ErrorKind::kUnavailable,
                 .code = "hook.start",
                 .message = "the hook could not be started"};
  if (!end.timed_out) end.exit_code = ExitCodeOf(said);
  return end;
}

}  // namespace writ::runner
