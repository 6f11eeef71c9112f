#include "root_job.h"

#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string_view>

#include "writ/backends/job/launch_facts.h"
#include "writ/base/child.h"

namespace writ::backends::microvm {
namespace {

constexpr std::chrono::milliseconds kLook{100};
constexpr std::chrono::seconds kGrace{10};
constexpr int kNotFound = 127;
constexpr int kRefused = 126;
constexpr int kFirstWord = 6;  // of ARGV in the arguments

// A job's, which are not those of whoever makes a root.
constexpr std::array<std::string_view, 8> kNotTaken = {"HOME",  "USER",   "LOGNAME", "PATH",
                                                       "SHELL", "TMPDIR", "PWD",     "LANG"};

std::string_view NameOf(std::string_view entry) {
  return entry.substr(0, entry.find('='));
}

void Set(std::vector<std::string>& env, const std::string& entry) {
  std::erase_if(env, [&](const std::string& one) { return NameOf(one) == NameOf(entry); });
  env.push_back(entry);
}

std::vector<std::string> EnvironmentOf(const RootJobOrder& order) {
  std::vector<std::string> env = {
      "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8",
      "DEBIAN_FRONTEND=noninteractive"};
  env.push_back(order.job.uid == 0 ? "HOME=/root" : "HOME=/");
  for (const std::string& entry : order.environment)
    if (std::find(kNotTaken.begin(), kNotTaken.end(), NameOf(entry)) == kNotTaken.end())
      Set(env, entry);
  for (const std::string& entry : order.job.environment) Set(env, entry);
  return env;
}

// As pid 1: everything but us.
void EndTheRest() {
  if (::getpid() != 1) return;
  ::kill(-1, SIGKILL);
  while (::waitpid(-1, nullptr, __WALL) > 0 || errno == EINTR) continue;
}

Ended EndedOf(std::optional<ExitStatus> status, JobWish wish, std::chrono::nanoseconds duration) {
  Ended out;
  out.duration_ns = static_cast<std::uint64_t>(duration.count());
  out.status = status;
  if (!status) {
    out.reason = "its end was not seen";
  } else if (wish != JobWish::kGoOn) {
    out.kind = Outcome::Kind::kCancelled;
    out.reason = "cancelled";
  } else {
    out.kind = status->signalled ? Outcome::Kind::kSignalled : Outcome::Kind::kExited;
  }
  return out;
}

bool Bind(const std::string& from, const std::string& to) {
  (void)::mkdir(to.c_str(), 0755);
  return ::mount(from.c_str(), to.c_str(), nullptr, MS_BIND | MS_REC, nullptr) == 0;
}

std::optional<unsigned> IdOf(std::string_view text) {
  unsigned id = 0;
  const auto [end, err] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (err != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return id;
}

int Failed(const char* what) {
  std::fprintf(stderr, "writ: %s: %s\n", what, std::strerror(errno));
  return kRefused;
}

}  // namespace

Result<UniqueFd> ListenForProxy() {
  UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return SysError(errno, "agent.proxy", "cannot make a socket");
  const int reuse = 1;
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(kProxyPortInside);
  (void)::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof reuse);
  if (::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(socket.get(), SOMAXCONN) != 0)
    return SysError(errno, "agent.proxy", "cannot listen for the proxy");
  return socket;
}

Result<Ended> RunRootJob(const RootJobOrder& order, const std::function<JobWish()>& wanted) {
  SpawnOptions spawn;
  spawn.path = "/proc/self/exe";
  spawn.argv = {"writ-guest-agent",
                "--in-root",
                order.root,
                std::to_string(order.job.uid),
                std::to_string(order.job.gid),
                order.job.cwd};
  spawn.argv.insert(spawn.argv.end(), order.argv.begin(), order.argv.end());
  spawn.env = EnvironmentOf(order);
  spawn.fds = {{order.out, 1}, {order.err, 2}};
  const auto begun = std::chrono::steady_clock::now();
  WRIT_ASSIGN(Child child, Child::Spawn(spawn));
  JobWish wish = JobWish::kGoOn;
  std::optional<ExitStatus> status;
  std::chrono::steady_clock::time_point killed{};
  while (!status) {
    WRIT_ASSIGN(status, child.Wait(kLook));
    if (status) break;
    const JobWish now = wanted();
    if (now != JobWish::kGoOn && wish == JobWish::kGoOn) {
      wish = now;
      killed = std::chrono::steady_clock::now() + kGrace;
      (void)child.Signal(SIGTERM);
    }
    if (now == JobWish::kEndNow ||
        (wish != JobWish::kGoOn && std::chrono::steady_clock::now() > killed))
      (void)child.Signal(SIGKILL);
  }
  EndTheRest();
  return EndedOf(status, wish, std::chrono::steady_clock::now() - begun);
}

int EnterRootJob(int argc, char** argv) {
  if (argc <= kFirstWord) return kRefused;
  const std::string root = argv[2];
  const auto uid = IdOf(argv[3]);
  const auto gid = IdOf(argv[4]);
  if (!uid || !gid) return kRefused;
  if (::unshare(CLONE_NEWNS) != 0 ||
      ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
    return Failed("no mounts of its own");
  for (const char* place : {"/dev", "/proc", "/sys"})
    if (!Bind(place, root + place)) return Failed(place);
  for (const char* place : {"/run", "/tmp"}) {
    (void)::mkdir((root + place).c_str(), 0755);
    if (::mount("none", (root + place).c_str(), "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777") != 0)
      return Failed(place);
  }
  if (::chroot(root.c_str()) != 0 || ::chdir("/") != 0) return Failed("cannot enter the root");
  if (::setgroups(0, nullptr) != 0 || ::setgid(*gid) != 0 || ::setuid(*uid) != 0)
    return Failed("cannot become its user");
  if (::chdir(argv[5]) != 0) return Failed("cannot enter its directory");
  ::signal(SIGPIPE, SIG_DFL);
  char** const words = argv + kFirstWord;
  ::execvp(words[0], words);
  const int code = errno == ENOENT ? kNotFound : kRefused;
  std::fprintf(stderr, "writ: cannot run %s: %s\n", words[0], std::strerror(errno));
  return code;
}

}  // namespace writ::backends::microvm
