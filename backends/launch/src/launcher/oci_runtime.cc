#include "oci_runtime.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <iterator>
#include <utility>
#include <vector>

#include "job_init.h"
#include "writ/base/close_descriptors.h"
#include "writ/base/file.h"

namespace writ::backends::launch {
namespace {

constexpr int kFree = 32;  // descriptors from here on are in nobody's way
constexpr std::size_t kMaxReason = 400;
constexpr std::uint64_t kMaxPlanBytes = 64u << 20;

bool Put(int from, int to) {
  return ::dup2(from, to) == to;  // clears FD_CLOEXEC: they are different
}

// What the runtime finds: -1 is not there.
struct RuntimeFds {
  int input = -1;  // its standard input; else /dev/null
  int told = -1;   // its standard output, which the container's first process has
  int errors = -1;
  int plan = -1;
  int socket = -1;
  int listener = -1;
  int supplies = -1;
};

[[noreturn]] void Become(const LaunchPlan& plan, const RuntimeFds& fds) {
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::umask(022);
  const int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  const std::pair<int, int> places[] = {{fds.input >= 0 ? fds.input : null, 0},
                                        {fds.told, 1},
                                        {fds.errors, 2},
                                        {fds.plan, kInsidePlanFd},
                                        {fds.socket, kInsideSocketFd},
                                        {fds.listener, kInsideListenerFd},
                                        {fds.supplies, kInsideSuppliesFd}};
  int high[std::size(places)];
  for (std::size_t i = 0; i < std::size(places); ++i)
    high[i] = places[i].first < 0 ? -1 : ::fcntl(places[i].first, F_DUPFD_CLOEXEC, kFree);
  for (std::size_t i = 0; i < std::size(places); ++i)
    if (places[i].first >= 0 && (high[i] < 0 || !Put(high[i], places[i].second))) ::_exit(126);
  if (plan.namespaces->container_kernel == ContainerKernel::kOwn) {
    if (!CloseDescriptors(kInsidePlanFd)) ::_exit(126);
  } else {
    for (int fd : {kStdoutFd, kStderrFd})
      if (::fcntl(fd, F_SETFD, 0) != 0) ::_exit(126);
    if (fds.listener < 0) ::close(kInsideListenerFd);
    if (!CloseDescriptors(fds.supplies < 0 ? kInsideSuppliesFd : kInsideSuppliesFd + 1))
      ::_exit(126);
  }
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

// The container's first process takes them off its standard input.
bool HandOver(int to, int plan, int socket) {
  return SendWithFds(to, "F", {plan, socket, kStdoutFd, kStderrFd}).has_value();
}

bool TakeHandedOver() {
  auto word = ReceiveWithFds(0, 16);
  if (!word || word->fds.size() != 4) return false;
  const int places[] = {kInsidePlanFd, kInsideSocketFd, kStdoutFd, kStderrFd};
  int high[4];
  for (int i = 0; i < 4; ++i) high[i] = ::fcntl(word->fds[i].get(), F_DUPFD_CLOEXEC, kFree);
  word->fds.clear();
  for (int i = 0; i < 4; ++i)
    if (high[i] < 0 || !Put(high[i], places[i])) return false;
  for (int fd : high) ::close(fd);
  return true;
}

}  // namespace

std::string RunRuntime(const LaunchPlan& plan, int socket, UniqueFd listener, UniqueFd supplies,
                       const std::function<void()>& ready) {
  const bool own_kernel = plan.namespaces->container_kernel == ContainerKernel::kOwn;
  LaunchPlan inner = plan;
  inner.namespaces->view.clear();
  inner.namespaces->runtime.clear();
  auto memfd = MakeSealedMemfd("writ-plan", EncodeLaunchPlan(inner));
  auto told = MakePipe();
  auto errors = MakePipe();
  auto input = MakeSeqpacketPair();
  if (!memfd || !told || !errors || !input) return "no descriptors";
  RuntimeFds fds;
  fds.told = told->write_end.get();
  fds.errors = errors->write_end.get();
  if (own_kernel) {
    fds.input = input->second.get();
    if (!HandOver(input->first.get(), memfd->get(), socket)) return "no descriptors";
  } else {
    fds.plan = memfd->get();
    fds.socket = socket;
    fds.listener = listener.get();
    fds.supplies = supplies.get();
  }
  const pid_t runtime = ::fork();
  if (runtime < 0) return "cannot fork";
  if (runtime == 0) Become(plan, fds);
  memfd->reset();
  listener.reset();
  supplies.reset();
  told->write_end.reset();
  errors->write_end.reset();
  input->second.reset();
  ::close(kStdoutFd);
  ::close(kStderrFd);
  bool got_ready = false;
  if (own_kernel) {
    char byte = 0;
    ssize_t count = 0;
    do count = ::read(told->read_end.get(), &byte, 1);
    while (count < 0 && errno == EINTR);
    got_ready = count == 1;
    if (got_ready) ready();
  }
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
  if (got_ready || !ReadWhatIsThere(told->read_end.get()).empty()) return {};
  return Reason(ReadWhatIsThere(errors->read_end.get()), status);
}

int RunInsideContainer(ContainerKernel kernel) {
  struct stat st {};
  if (kernel == ContainerKernel::kOwn && !TakeHandedOver()) return 2;
  for (int fd : {kInsidePlanFd, kInsideSocketFd, kStdoutFd, kStderrFd})
    if (::fstat(fd, &st) != 0) return 2;
  const bool listens = kernel == ContainerKernel::kHosts && ::fstat(kInsideListenerFd, &st) == 0 &&
                       S_ISSOCK(st.st_mode);
  if (!CloseDescriptors(kInsideListenerFd + (listens ? 1 : 0))) return 1;
  UniqueFd told(::fcntl(1, F_DUPFD_CLOEXEC, kFree));
  UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!told || !null) return 1;
  for (int fd : {0, 1, 2})
    if (::dup2(null.get(), fd) < 0) return 1;
  if (!CloseDescriptorsOnExec(kInsidePlanFd, kInsideListenerFd)) return 1;
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
