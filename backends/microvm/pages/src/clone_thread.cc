#include "clone_thread.h"

#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>

#include <cerrno>
#include <csignal>
#include <system_error>
#include <utility>

namespace writ::backends::microvm::pages {
namespace {

constexpr int kInterrupt = SIGUSR1;

void GoTo(std::uint32_t cpu) {
  if (cpu >= CPU_SETSIZE) return;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(cpu, &one);
  (void)::sched_setaffinity(0, sizeof one, &one);  // a wish: it can be served elsewhere as well
}

}  // namespace

Status PrepareThreads() {
  struct sigaction action {};
  action.sa_handler = [](int) {};  // without SA_RESTART
  if (::sigaction(kInterrupt, &action, nullptr) != 0)
    return SysError(errno, "pages.signal", "cannot set a signal's handler");
  return {};
}

CloneThread::CloneThread(VerifiedMemory& memory, const ServingOptions& options,
                         std::atomic<unsigned>& spinning, Events events)
    : memory_(memory), options_(options), spinning_(spinning), events_(std::move(events)) {
  stop_.wake.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}

Status CloneThread::Start(const Serve& serve, UniqueFd socket, uid_t uid) {
  stop_.goes_on.store(!serve.waits, std::memory_order_relaxed);
  if (!stop_.wake) return SysError(errno, "pages.thread", "cannot make what a clone needs");
  try {
    thread_ = std::jthread([this, serve, uid, fd = std::move(socket)]() mutable {
      events_.ended(Run(serve, std::move(fd), uid));
    });
  } catch (const std::system_error& error) {
    return SysError(error.code().value(), "pages.thread", "cannot start a thread for a clone");
  }
  return {};
}

void CloneThread::Stop() {
  stop_.said.store(true, std::memory_order_relaxed);
  (void)::eventfd_write(stop_.wake.get(), 1);
  if (thread_.joinable()) ::pthread_kill(thread_.native_handle(), kInterrupt);
}

Status CloneThread::Run(const Serve& serve, UniqueFd socket, uid_t uid) {
  if (serve.cpu) GoTo(*serve.cpu);
  WRIT_ASSIGN(Shaken shaken,
              ShakeHands(serve.by, std::move(socket), uid, memory_.memory().memory_bytes(), stop_));
  const Attached attached{static_cast<std::uint64_t>(shaken.pid), shaken.regions.list().size(),
                          shaken.regions.bytes()};
  server_ = std::make_unique<FaultServer>(std::move(shaken.uffd), std::move(shaken.regions),
                                          memory_, events_.plan(), options_, spinning_, counters_,
                                          stop_, events_.observed);
  events_.attached(attached, std::move(shaken.pidfd));
  if (shaken.stream) WRIT_TRY(SayGo(shaken.stream.get()));
  shaken.stream.reset();
  return server_->Serve();
}

}  // namespace writ::backends::microvm::pages
