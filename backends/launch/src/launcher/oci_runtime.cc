#include "oci_runtime.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>
#include <vector>

#include "job_init.h"
#include "writ/base/file.h"

namespace writ::backends::launch {
namespace {

constexpr int kFree = 32;  // descriptors from here on are in nobody's way
constexpr std::size_t kMaxReason = 400;
constexpr std::uint64_t kMaxPlanBytes = 64u << 20;

bool Put(int from, int to) {
  return ::dup2(from, to) == to;  // clears FD_CLOEXEC: they are different
}

[[noreturn]] void Become(const LaunchPlan& plan, int inner_plan, int socket, int listener, int told,
                         int errors) {
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::umask(022);
  const int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  int high[5] = {inner_plan, socket, told, errors, listener};
  for (int& fd : high)
    if (fd >= 0) fd = ::fcntl(fd, F_DUPFD_CLOEXEC, kFree);
  const bool placed = null >= 0 && Put(null, 0) && Put(high[2], 1) && Put(high[3], 2) &&
                      Put(high[0], kInsidePlanFd) && Put(high[1], kInsideSocketFd) &&
                      (listener < 0 || Put(high[4], kInsideListenerFd));
  for (int fd : {kStdoutFd, kStderrFd})
    if (::fcntl(fd, F_SETFD, 0) != 0) ::_exit(126);
  if (!placed) ::_exit(126);
  const unsigned first = listener < 0 ? kInsideListenerFd : kInsideListenerFd + 1;
  ::syscall(SYS_close_range, first, ~0u, 0);
  std::vector<char*> argv;
  for (const std::string& word : plan.namespaces->runtime)
    argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  char path[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
  char home[] = "HOME=/";
  char state[] = "XDG_RUNTIME_DIR=/run";
  char* env[] = {path, home, state, nullptr};
  ::execve(argv.front(), argv.data(), env);
  (void)WriteAll(2, std::string("cannot be started: ") + std::strerror(errno)).has_value();
  ::_exit(127);
}

std::string ReadWhatIsThere(int fd) {
  ::fcntl(fd, F_SETFL, O_NONBLOCK);
  char buffer[4096];
  const ssize_t count = ::read(fd, buffer, sizeof buffer);
  return std::string(buffer, count > 0 ? static_cast<std::size_t>(count) : 0);
}

// The last lines of what it wrote, printable.
std::string Reason(std::string text, int status) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) > 0x7e) c = ' ';
  if (text.size() > kMaxReason) text = "..." + text.substr(text.size() - kMaxReason);
  if (!text.empty()) return text;
  return WIFEXITED(status) ? "ended with " + std::to_string(WEXITSTATUS(status)) + " without a word"
                           : "ended by signal " + std::to_string(WTERMSIG(status));
}

}  // namespace

std::string RunRuntime(const LaunchPlan& plan, int socket, UniqueFd listener) {
  LaunchPlan inner = plan;
  inner.namespaces->view.clear();
  inner.namespaces->runtime.clear();
  auto memfd = MakeSealedMemfd("writ-plan", EncodeLaunchPlan(inner));
  auto told = MakePipe();
  auto errors = MakePipe();
  if (!memfd || !told || !errors) return "no descriptors";
  const pid_t runtime = ::fork();
  if (runtime < 0) return "cannot fork";
  if (runtime == 0)
    Become(plan, memfd->get(), socket, listener.get(), told->write_end.get(),
           errors->write_end.get());
  memfd->reset();
  listener.reset();
  told->write_end.reset();
  errors->write_end.reset();
  ::close(kStdoutFd);
  ::close(kStderrFd);
  int status = 0;
  for (;;) {
    int one = 0;
    const pid_t pid = ::waitpid(-1, &one, __WALL);
    if (pid < 0 && errno == EINTR) continue;
    if (pid == runtime) status = one;
    if (pid < 0 || pid == runtime) break;
  }
  ::kill(-1, SIGKILL);  // all that is in this pid namespace but us
  while (::waitpid(-1, nullptr, __WALL) > 0 || errno == EINTR) continue;
  if (!ReadWhatIsThere(told->read_end.get()).empty()) return {};
  return Reason(ReadWhatIsThere(errors->read_end.get()), status);
}

int RunInsideContainer() {
  struct stat st {};
  for (int fd : {kInsidePlanFd, kInsideSocketFd, kStdoutFd, kStderrFd})
    if (::fstat(fd, &st) != 0) return 2;
  const bool listens = ::fstat(kInsideListenerFd, &st) == 0 && S_ISSOCK(st.st_mode);
  ::syscall(SYS_close_range, kInsideListenerFd + (listens ? 1 : 0), ~0u, 0);
  UniqueFd told(::fcntl(1, F_DUPFD_CLOEXEC, kFree));
  UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!told || !null || ::dup2(null.get(), 1) < 0 || ::dup2(null.get(), 2) < 0) return 1;
  ::syscall(SYS_close_range, kInsidePlanFd, kInsideListenerFd, CLOSE_RANGE_CLOEXEC);
  UniqueFd plan_fd(kInsidePlanFd);
  auto bytes = ReadAll(plan_fd.get(), kMaxPlanBytes);
  auto plan = bytes ? DecodeLaunchPlan(*bytes) : std::move(bytes).error();
  plan_fd.reset();
  if (!plan || !plan->namespaces) return 2;
  sigset_t all;
  sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, nullptr);
  RunInside(*plan, UniqueFd(kInsideSocketFd), UniqueFd(listens ? kInsideListenerFd : -1),
            std::move(told));
}

}  // namespace writ::backends::launch
