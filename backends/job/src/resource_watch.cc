#include "writ/backends/job/resource_watch.h"

#include <sys/eventfd.h>

#include <algorithm>
#include <stop_token>
#include <utility>

#include "writ/backends/linux/process_tree.h"

namespace writ::backends {
namespace {

using std::chrono::steady_clock;

constexpr auto kDiskRest = std::chrono::seconds(5);  // without any sign, measured this seldom
constexpr int kDiskShare = 4;  // a measurement takes at most one part in four of the time

}  // namespace

ResourceWatch::ResourceWatch(const Limits& limits, const CgroupSet& cgroups, Tree tree,
                             std::vector<UniqueFd> trees)
    : limits_(limits),
      cgroups_(cgroups),
      tree_(tree),
      disk_(std::move(trees)),
      event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

void ResourceWatch::Begin() {
  thread_ = std::jthread([this](const std::stop_token& stop) { Loop(stop); });
}

ResourceWatch::~ResourceWatch() {
  Stop();
}

void ResourceWatch::Loop(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (!stop.stop_requested() && !hit_) {
    LookAtAll(Look::kWhileRunning);
    wake_.wait_for(lock, stop, kWatchInterval, [] { return false; });
  }
}

std::optional<PlannedLimit> ResourceWatch::Stop() {
  if (stopped_) return hit_;
  stopped_ = true;
  if (thread_.joinable()) {
    thread_.request_stop();
    thread_.join();
  }
  LookAtAll(Look::kLast);
  return hit_;
}

void ResourceWatch::Hit(LimitKind kind) {
  if (hit_) return;
  for (const PlannedLimit& limit : PlannedLimits(limits_))
    if (limit.kind == kind) hit_ = limit;
  if (event_) ::eventfd_write(event_.get(), 1);
}

// In the order in which one explains the others: a fork bomb also runs out of memory.
void ResourceWatch::LookAtAll(Look look) {
  LookAtProcesses();
  LookAtMemory();
  LookAtCpu(look);
  LookAtDisk(look);
}

void ResourceWatch::LookAtProcesses() {
  if (auto refused = cgroups_.RefusedForks()) {
    if (*refused > 0) Hit(LimitKind::kProcesses);
    return;
  }
  auto tasks = cgroups_.Tasks();
  if (!tasks) tasks = TreeTasks(tree_.supervisor);
  if (*tasks > limits_.processes + tree_.own_tasks) Hit(LimitKind::kProcesses);
}

void ResourceWatch::LookAtMemory() {
  auto events = cgroups_.OutOfMemory();
  if (!events || events->kills == 0) return;
  if (events->limit_hits > 0)
    Hit(LimitKind::kMemory);
  else
    host_out_of_memory_ = true;
}

void ResourceWatch::LookAtCpu(Look look) {
  auto used = cgroups_.CpuTime();
  if (used) cpu_ = used;
  if (limits_.cpu_time.count() == 0) return;
  // Of a tree that is dead nothing is left to be looked at process by process.
  if (!used && look == Look::kWhileRunning) {
    cpu_seen_ = std::max(cpu_seen_, TreeCpuTime(tree_.supervisor));
    used = cpu_seen_;
  }
  if (used && *used > limits_.cpu_time) Hit(LimitKind::kCpu);
}

bool ResourceWatch::DiskIsDue(Time now) const {
  if (!disk_now_) return true;
  const auto since = now - disk_time_;
  if (since < disk_took_ * kDiskShare) return false;
  if (since > kDiskRest) return true;
  const DiskMeter::Lost lost = disk_.LostSinceLastMeasure();
  auto half_gone = [](std::uint64_t limit, std::uint64_t used, std::uint64_t lost_now) {
    return limit != 0 && (used >= limit || lost_now >= (limit - used) / 2);
  };
  return half_gone(limits_.disk_bytes, disk_now_->bytes, lost.bytes) ||
         half_gone(limits_.disk_files, disk_now_->files, lost.files);
}

void ResourceWatch::LookAtDisk(Look look) {
  const bool limited = limits_.disk_bytes != 0 || limits_.disk_files != 0;
  const Time before = steady_clock::now();
  if (look == Look::kWhileRunning && (!limited || !DiskIsDue(before))) return;
  disk_now_ = disk_.Measure(look == Look::kLast ? std::vector<pid_t>() : Members(),
                            DiskLimits{limits_.disk_bytes, limits_.disk_files});
  disk_time_ = steady_clock::now();
  disk_took_ = disk_time_ - before;
  disk_most_.bytes = std::max(disk_most_.bytes, disk_now_->bytes);
  disk_most_.files = std::max(disk_most_.files, disk_now_->files);
  if (limits_.disk_bytes != 0 && disk_now_->bytes > limits_.disk_bytes) Hit(LimitKind::kDisk);
  if (limits_.disk_files != 0 && disk_now_->files > limits_.disk_files) Hit(LimitKind::kDiskFiles);
}

std::vector<pid_t> ResourceWatch::Members() const {
  std::vector<pid_t> members;
  if (auto grouped = cgroups_.Members())
    members = std::move(*grouped);
  else
    for (const TreeMember& member : DescendantsOf(tree_.supervisor)) members.push_back(member.pid);
  std::erase(members, tree_.init);  // holds nothing of the job's, and cannot be looked into
  return members;
}

void ResourceWatch::AddTo(Usage& usage) const {
  if (cpu_) {
    usage.cpu_time = cpu_;
    usage.cpu_by =
        cgroups_.cpu_time_is_v2() ? Usage::CountedBy::kCgroupV2 : Usage::CountedBy::kCgroupV1;
  } else if (usage.cpu_time && *usage.cpu_time < cpu_seen_) {
    // Processes that nobody waited for are not in it: no less than what a limit was held against.
    usage.cpu_time = cpu_seen_;
  }
  if (auto peak = cgroups_.PeakMemoryBytes()) {
    usage.peak_memory_bytes = peak;
    usage.memory_by =
        cgroups_.memory_is_v2() ? Usage::CountedBy::kCgroupV2 : Usage::CountedBy::kCgroupV1;
  }
  if (auto io = cgroups_.Io()) {
    usage.read_bytes = io->read;
    usage.written_bytes = io->written;
    usage.io_by = Usage::CountedBy::kCgroupV2;
  }
  if (disk_now_ && !disk_now_->out_of_sight) {
    usage.disk_bytes = disk_most_.bytes;
    usage.disk_files = disk_most_.files;
  }
}

}  // namespace writ::backends
