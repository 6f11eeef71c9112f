#include "writ/backends/job/left_tree.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <csignal>
#include <thread>

#include "writ/backends/job/base_environment.h"
#include "writ/backends/linux/pidfd.h"
#include "writ/backends/linux/process_facts.h"
#include "writ/backends/linux/process_tree.h"

namespace writ::backends {
namespace {

constexpr int kPasses = 100;
constexpr std::chrono::milliseconds kPassPause{10};
constexpr std::size_t kNamedLeaks = 8;

bool HeldByMoreThan(unsigned ours, pid_t pid) {
  return SeccompFiltersOf(pid).value_or(ours + 1) > ours;
}

// Whether it may have lost `supervisor`. What such a process hangs on is whoever adopts orphans
// there: an ancestor of the supervisor, so older, and no supervisor of another job.
bool MayBeOrphanOf(const ProcessMark& supervisor, pid_t pid, unsigned our_filters) {
  if (StartTicksOf(pid) < supervisor.start_ticks || !HeldByMoreThan(our_filters, pid)) return false;
  constexpr int kDeepest = 10'000;  // a chain that is changed while it is walked ends too
  pid_t above = pid;
  for (int depth = 0; depth < kDeepest; ++depth) {
    above = ParentOf(above);
    if (above <= 1) return true;
    if (HeldByMoreThan(our_filters, above)) continue;
    return StartTicksOf(above) <= supervisor.start_ticks && ProgramName(above) != "writ-launch";
  }
  return true;
}

Leak ProcessLeak(pid_t pid, const char* what) {
  return {"process", "pid " + std::to_string(pid) + " (" + ProgramName(pid) + ")" + what};
}

}  // namespace

std::optional<JobMark> JobMark::Parse(std::string_view text) {
  JobMark mark;
  const auto words = std::count(text.begin(), text.end(), ' ') + 1;
  if (words == 4) {
    const auto at = text.rfind(' ');
    uid_t uid = 0;
    const char* end = text.data() + text.size();
    if (std::from_chars(text.data() + at + 1, end, uid) != std::from_chars_result{end, {}})
      return std::nullopt;
    mark.uid = uid;
    text = text.substr(0, at);
  }
  const auto supervisor = ProcessMark::Parse(text);
  if (!supervisor) return std::nullopt;
  mark.supervisor = *supervisor;
  return mark;
}

std::string JobMark::Text() const {
  return supervisor.Text() + (uid ? " " + std::to_string(*uid) : std::string());
}

std::vector<Leak> EndLeftTree(const LeftTree& left) {
  const bool own_uid = left.uid != 0 && left.uid != ::geteuid();
  const std::string mark = std::string(kJobMark) + "=" + left.run_id;
  const unsigned our_filters = SeccompFiltersOf(::getpid()).value_or(0);
  std::vector<Leak> found;
  for (int pass = 0; pass < kPasses; ++pass) {
    if (pass > 0) std::this_thread::sleep_for(kPassPause);
    found.clear();
    for (pid_t pid : ProcessesOfUid(left.uid)) {
      if (pid == ::getpid()) continue;
      // Held before it is looked at again, so that a pid that is used anew is never hit.
      auto pidfd = OpenPidfd(pid);
      if (!pidfd) continue;
      if (own_uid ? IsOfUid(pid, left.uid) : ShowsEntry(pid, mark)) {
        found.push_back(ProcessLeak(pid, ""));
        SignalPidfd(pidfd->get(), SIGKILL);
      } else if (!own_uid && left.supervisor && MayBeOrphanOf(*left.supervisor, pid, our_filters)) {
        found.push_back(ProcessLeak(pid, ", which may be the job's and does not show it"));
      }
    }
    if (found.empty()) return found;
  }
  if (found.size() > kNamedLeaks) {
    const std::size_t more = found.size() - kNamedLeaks;
    found.resize(kNamedLeaks);
    found.push_back({"process", std::to_string(more) + " more"});
  }
  return found;
}

}  // namespace writ::backends
