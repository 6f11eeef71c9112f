// Watching: one poll loop over the launcher's messages, the job's output and the wish to cancel.
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <memory>
#include <span>
#include <stop_token>
#include <utility>

#include "writ/backends/job/launched_job.h"
#include "writ/backends/launch/launch_plan.h"
#include "writ/backends/linux/process_tree.h"

namespace writ::backends {
namespace {

using std::chrono::steady_clock;

constexpr std::size_t kReadBytes = 128 * 1024;

std::chrono::nanoseconds Now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
      steady_clock::now().time_since_epoch());
}

int MillisecondsUntil(steady_clock::time_point time) {
  auto left = std::chrono::ceil<std::chrono::milliseconds>(time - steady_clock::now()).count();
  return static_cast<int>(std::clamp<std::int64_t>(left, 0, 1 << 30));
}

// One of the job's streams on its way to the sink.
class OutputPipe {
 public:
  OutputPipe(UniqueFd& fd, Stream stream, const OutputLimits& limits, OutputSink& sink)
      : fd_(fd), keep_(stream, limits.head_bytes, limits.tail_bytes, sink) {}

  int fd() const { return fd_.get(); }  // -1 once it is at its end: poll ignores it
  // Reads once; false when there was nothing to read.
  bool ReadSome(std::span<char> buffer) {
    if (!fd_) return false;
    ssize_t n = ::read(fd_.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) return true;
    if (n < 0 && errno == EAGAIN) return false;
    if (n <= 0) {
      fd_.reset();
      return false;
    }
    keep_.Add(std::string_view(buffer.data(), static_cast<std::size_t>(n)), Now());
    return true;
  }
  void Finish() { keep_.Finish(Now()); }
  const OutputCounters& counters() const { return keep_.counters(); }

 private:
  UniqueFd& fd_;
  HeadTail keep_;
};

}  // namespace

bool LaunchedJob::OnControl(std::vector<RefusedConnect>& refused, const WatchOptions& options) {
  auto received = ReceiveWithFds(control_.get(), launch::kMaxMessageBytes);
  // It left without reading our last word, which the kernel tells before its own last word.
  if (!received && received.error().sys_errno == ECONNRESET)
    received = ReceiveWithFds(control_.get(), launch::kMaxMessageBytes);
  if (!received || received->bytes.empty()) return false;
  auto message = launch::DecodeMessage(received->bytes);
  if (!message) return true;
  if (auto* ended = std::get_if<launch::EndedMessage>(&*message)) ended_ = *ended;
  if (auto* failed = std::get_if<launch::SetupFailedMessage>(&*message)) setup_failed_ = *failed;
  stillness_->OnMessage(*message);
  entries_->OnMessage(*message, std::move(received->fds));
  if (auto* r = std::get_if<launch::RefusedMessage>(&*message)) {
    const bool known = std::any_of(refused.begin(), refused.end(), [r](const RefusedConnect& k) {
      return k.program == r->program && k.address == r->address && k.reason == r->reason;
    });
    if (!known && refused.size() < kMaxRefusedRecords) {
      refused.push_back({r->pid, r->program, r->address, r->reason});
      if (options.on_refused_connect) options.on_refused_connect(refused.back());
    }
  }
  return true;
}

Outcome LaunchedJob::Watch(OutputSink& sink, const WatchOptions& options) {
  if (setup_failed_) return OutcomeOf(*setup_failed_);
  if (!started_) return OutcomeOf(launch::SetupFailedMessage{"the job was never started", 0});
  UniqueFd stop_event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  std::stop_callback on_stop(options.stop, [fd = stop_event.get()] { ::eventfd_write(fd, 1); });
  UniqueFd kill_event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  std::stop_callback on_kill(options.kill, [fd = kill_event.get()] { ::eventfd_write(fd, 1); });
  ResourceWatch resources(outside_, cgroups_, {supervisor_.pid(), init_, own_tasks_},
                          std::move(written_trees_));
  launchers_.Prepare();  // while the job runs
  OutputPipe out(out_, Stream::kStdout, plan_.limits.output, sink);
  OutputPipe err(err_, Stream::kStderr, plan_.limits.output, sink);
  const std::uint64_t output_limit = plan_.limits.output.end_job_over_bytes;
  std::vector<RefusedConnect> refused;
  // Not filled: most jobs write little, and untouched memory costs nothing.
  const auto room = std::make_unique_for_overwrite<char[]>(kReadBytes);
  const std::span<char> buffer(room.get(), kReadBytes);
  const auto first_look = steady_clock::now() + kFirstLook;
  bool asked_to_end = false;
  bool cancel_seen = false;
  bool kill_seen = false;
  bool limit_seen = false;
  while (!ended_ && !setup_failed_) {
    pollfd fds[7] = {{control_.get(), POLLIN, 0},
                     {out.fd(), POLLIN, 0},
                     {err.fd(), POLLIN, 0},
                     {cancel_seen ? -1 : stop_event.get(), POLLIN, 0},
                     {cancel_seen ? -1 : options.cancel_fd, POLLIN, 0},
                     {kill_seen ? -1 : kill_event.get(), POLLIN, 0},
                     {limit_seen ? -1 : resources.event_fd(), POLLIN, 0}};
    std::optional<steady_clock::time_point> wake;
    if (!asked_to_end) wake = options.deadline;
    if (!resources.begun()) wake = std::min(first_look, wake.value_or(first_look));
    int ready = ::poll(fds, 7, wake ? MillisecondsUntil(*wake) : -1);
    if (ready < 0 && errno != EINTR) break;
    if (!resources.begun() && steady_clock::now() >= first_look) resources.Begin();
    if (options.deadline && !asked_to_end && steady_clock::now() >= *options.deadline) {
      Tell(launch::DeadlineMessage{});
      asked_to_end = true;
    }
    if (ready <= 0) continue;
    if (fds[1].revents != 0) out.ReadSome(buffer);
    if (fds[2].revents != 0) err.ReadSome(buffer);
    const std::uint64_t written = out.counters().seen + err.counters().seen;
    if (output_limit != 0 && written > output_limit && !asked_to_end) {
      Tell(launch::OutputLimitMessage{});
      asked_to_end = true;
    }
    if (!limit_seen && fds[6].revents != 0) {
      Tell(launch::LimitPassedMessage{});
      limit_seen = asked_to_end = true;
    }
    if (!cancel_seen && (fds[3].revents != 0 || fds[4].revents != 0)) {
      Tell(launch::CancelMessage{});
      cancel_seen = asked_to_end = true;
    }
    if (!kill_seen && fds[5].revents != 0) {
      // The second wish to end ends the grace of the first.
      Tell(launch::CancelMessage{});
      if (!asked_to_end) Tell(launch::CancelMessage{});
      kill_seen = cancel_seen = asked_to_end = true;
    }
    if (fds[0].revents != 0 && !OnControl(refused, options)) break;
  }
  entries_->Close();
  stillness_->Close();
  // The tree is dead: what is in the pipes now is all there will ever be (L18).
  while (out.ReadSome(buffer)) {
  }
  while (err.ReadSome(buffer)) {
  }
  out.Finish();
  err.Finish();
  if (setup_failed_) return OutcomeOf(*setup_failed_);
  Outcome outcome = MakeOutcome(resources);
  outcome.out = out.counters();
  outcome.err = err.counters();
  outcome.refused = std::move(refused);
  return outcome;
}

void LaunchedJob::AddUsageTo(Usage& usage) const {
  const auto cpu = cgroups_.CpuTime();
  usage.cpu_time = usage.cpu_time.value_or(std::chrono::microseconds(0)) +
                   (cpu ? *cpu : TreeCpuTime(supervisor_.pid()));
  if (auto peak = cgroups_.PeakMemoryBytes())
    usage.peak_memory_bytes = usage.peak_memory_bytes.value_or(0) + *peak;
  if (auto io = cgroups_.Io()) {
    usage.read_bytes = usage.read_bytes.value_or(0) + io->read;
    usage.written_bytes = usage.written_bytes.value_or(0) + io->written;
  }
}

std::optional<LimitKind> LaunchedJob::LimitPassed() const {
  if (auto refused = cgroups_.RefusedForks(); refused && *refused > 0) return LimitKind::kProcesses;
  if (auto events = cgroups_.OutOfMemory(); events && events->kills > 0 && events->limit_hits > 0)
    return LimitKind::kMemory;
  return std::nullopt;
}

// The first verdict wins: what was passed counts where the job had not been ended for another
// reason, be it that the job was quicker than the next look.
Outcome LaunchedJob::MakeOutcome(ResourceWatch& resources) const {
  std::optional<PlannedLimit> passed = resources.Stop();
  Outcome outcome;
  if (ended_) {
    outcome = OutcomeOf(*ended_);
  } else {
    outcome.reason = "the supervisor went away without a word";
    outcome.duration = std::max(
        std::chrono::nanoseconds(1),
        std::chrono::duration_cast<std::chrono::nanoseconds>(steady_clock::now() - start_time_));
  }
  outcome.limits = tier_.HoldersOf(plan_.limits, features_);
  resources.AddTo(outcome.usage);
  if (root_.machine) {
    root_.machine->AddTo(outcome.usage);
    if (auto kind = root_.machine->Passed(); kind && !passed)
      for (const PlannedLimit& limit : PlannedLimits(outside_))
        if (limit.kind == *kind) passed = limit;
  }
  auto ended_by = [this, &outcome](LimitKind kind) {
    for (const PlannedLimit& limit : PlannedLimits(plan_.limits))
      if (limit.kind == kind) outcome.limit = limit;
  };
  const Limits& limits = outside_;
  if (!passed && limits.cpu_time.count() != 0 && outcome.usage.cpu_time > limits.cpu_time)
    passed = PlannedLimit{LimitKind::kCpu, static_cast<std::uint64_t>(limits.cpu_time.count()),
                          limits.sources.cpu};
  if (!ended_) return outcome;
  using Cause = launch::EndedMessage::Cause;
  if (ended_->cause == Cause::kTimeOut) ended_by(LimitKind::kWall);
  if (ended_->cause == Cause::kOutputLimit) ended_by(LimitKind::kOutput);
  if (ended_->cause == Cause::kLimitPassed && ended_->limit != 0) {
    // Seen by who was beside the job in its machine. One that nobody set is the machine's own size.
    const auto kind = static_cast<LimitKind>(ended_->limit - 1);
    passed = PlannedLimit{kind, kind == LimitKind::kMemory ? outside_.memory_bytes : 0,
                          LimitSource::kOperator};
    for (const PlannedLimit& limit : PlannedLimits(plan_.limits))
      if (limit.kind == kind) passed = limit;
  }
  const bool by_itself = ended_->cause == Cause::kItself;
  if (passed && (by_itself || ended_->cause == Cause::kLimitPassed)) {
    outcome.kind = Outcome::Kind::kViolated;
    outcome.limit = passed;
    outcome.reason = "the job passed its limit of " + std::string(LimitName(passed->kind)) + " (" +
                     std::to_string(passed->value) + " " + std::string(LimitUnit(passed->kind)) +
                     ")";
  } else if (by_itself && resources.host_was_out_of_memory()) {
    outcome.kind = Outcome::Kind::kViolated;
    outcome.reason = "the kernel ended processes of the job because the host had no memory left";
  }
  return outcome;
}

}  // namespace writ::backends
