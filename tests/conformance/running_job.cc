#include "conformance/running_job.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <utility>
#include <vector>

namespace writ::test {

class RunningJob::Sink final : public backends::OutputSink {
 public:
  explicit Sink(RunningJob& owner) : owner_(owner), next_(owner.run_) {}
  void OnOutput(backends::Stream stream, std::string_view bytes,
                std::chrono::nanoseconds when) override {
    next_.OnOutput(stream, bytes, when);
    std::lock_guard lock(owner_.mutex_);
    owner_.seen_.append(bytes);
    owner_.changed_.notify_all();
  }
  void OnLeftOut(backends::Stream stream, std::uint64_t bytes) override {
    next_.OnLeftOut(stream, bytes);
  }

 private:
  RunningJob& owner_;
  Collector next_;
};

RunningJob::RunningJob(backends::Backend& backend, backends::Plan plan) {
  auto job = backend.Prepare(std::move(plan));
  if (!job) {
    run_.started = job.error();
    over_ = dismantled_ = true;
    return;
  }
  job_ = std::move(*job);
  run_.started = job_->Start({});
  watcher_ = std::jthread([this] {
    Sink sink(*this);
    backends::WatchOptions options;
    options.stop = stop_.get_token();
    run_.outcome = job_->Watch(sink, options);
    std::lock_guard lock(mutex_);
    over_ = true;
    changed_.notify_all();
  });
}

RunningJob::~RunningJob() {
  End();
}

bool RunningJob::AwaitOutput(const std::string& text) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return over_ || seen_.find(text) != std::string::npos; });
  return seen_.find(text) != std::string::npos;
}

const JobRun& RunningJob::End() {
  stop_.request_stop();
  return Wait();
}

const JobRun& RunningJob::Wait() {
  if (watcher_.joinable()) watcher_.join();
  if (!dismantled_) run_.dismantled = job_->Dismantle();
  dismantled_ = true;
  return run_;
}

backends::EntryPlan ShellEntry(const std::string& script) {
  backends::EntryPlan plan;
  plan.argv = {"/bin/sh", "-c", script};
  return plan;
}

namespace {

// False: nothing more will come.
bool ReadSome(int fd, std::string& out) {
  char piece[64 * 1024];
  for (;;) {
    const ssize_t n = ::read(fd, piece, sizeof piece);
    if (n > 0) out.append(piece, static_cast<std::size_t>(n));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return true;
    if (n <= 0) return false;
  }
}

}  // namespace

void WriteToEntry(int fd, const std::string& bytes) {
  std::string_view rest = bytes;
  while (!rest.empty()) {
    const ssize_t n = ::write(fd, rest.data(), rest.size());
    if (n > 0) rest.remove_prefix(static_cast<std::size_t>(n));
    if (n > 0 || errno == EINTR) continue;
    if (errno != EAGAIN) return;
    pollfd ready{fd, POLLOUT, 0};
    ::poll(&ready, 1, -1);
  }
}

bool AwaitEntryOutput(backends::Entry& entry, std::string& out, const std::string& text) {
  bool open = true;
  while (out.find(text) == std::string::npos) {
    pollfd fds[2] = {{open ? entry.output() : -1, POLLIN, 0}, {entry.event_fd(), POLLIN, 0}};
    ::poll(fds, 2, -1);
    open = open && ReadSome(entry.output(), out);
    if (entry.End() && out.find(text) == std::string::npos) {
      if (open) ReadSome(entry.output(), out);
      return out.find(text) != std::string::npos;
    }
  }
  return true;
}

backends::EntryEnd AwaitEntryEnd(backends::Entry& entry) {
  pollfd ready{entry.event_fd(), POLLIN, 0};
  while (!entry.End()) ::poll(&ready, 1, -1);
  return *entry.End();
}

EntryRun Enter(backends::Job& job, backends::EntryPlan plan, const std::string& input) {
  EntryRun run;
  auto entered = job.Enter(std::move(plan));
  if (!entered) {
    run.entered = entered.error();
    return run;
  }
  backends::Entry& entry = **entered;
  std::string_view rest = input;
  bool out = entry.output() >= 0;
  bool err = entry.errors() >= 0;
  for (bool ended = false;;) {
    if (rest.empty()) entry.CloseInput();
    pollfd fds[4] = {{entry.event_fd(), static_cast<short>(ended ? 0 : POLLIN), 0},
                     {out ? entry.output() : -1, POLLIN, 0},
                     {err ? entry.errors() : -1, POLLIN, 0},
                     {rest.empty() ? -1 : entry.input(), POLLOUT, 0}};
    ended = entry.End().has_value();
    ::poll(fds, 4, ended ? 0 : -1);
    if (fds[3].revents != 0) {
      const ssize_t n = ::write(entry.input(), rest.data(), rest.size());
      if (n > 0) rest.remove_prefix(static_cast<std::size_t>(n));
      if (n < 0 && errno != EAGAIN && errno != EINTR) rest = {};
    }
    if (out) out = ReadSome(entry.output(), run.out);
    if (err) err = ReadSome(entry.errors(), run.err);
    if (ended) break;
  }
  run.end = *entry.End();
  return run;
}

}  // namespace writ::test
