// Slowing or marking somebody else's process, and taking more of the processor than is one's share.
// The kernel asks for the same uid only; what is set is what is set already, where that says as
// much.
#include <fcntl.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <string>

#include "attack.h"

namespace writ::hostile {
namespace {

Result Renice() {
  return From(::setpriority(PRIO_PROCESS, static_cast<id_t>(Victim()), 5) == 0);
}
Result Reschedule() {
  const sched_param none{};
  return From(::sched_setscheduler(Victim(), SCHED_BATCH, &none) == 0);
}
Result ScheduleAttributes() {
  struct {
    std::uint32_t size = 48;
    std::uint32_t policy = SCHED_BATCH;
    std::uint64_t rest[5] = {};
  } attributes;
  return From(::syscall(SYS_sched_setattr, Victim(), &attributes, 0) == 0);
}
Result Pin() {
  cpu_set_t set;
  if (::sched_getaffinity(Victim(), sizeof set, &set) != 0) return Result::kRefused;
  return From(::sched_setaffinity(Victim(), sizeof set, &set) == 0);
}
Result IoPriority() {
  return From(::syscall(SYS_ioprio_set, 1 /* process */, Victim(), 3 << 13 /* idle */) == 0);
}
Result OfferToOomKiller() {
  const std::string path = "/proc/" + std::to_string(Victim()) + "/oom_score_adj";
  const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  return From(fd >= 0 && ::write(fd, "900", 3) == 3);
}
Result RaisePriority() {
  return From(::setpriority(PRIO_PROCESS, 0, -5) == 0);
}
Result RealTime() {
  sched_param lowest{};
  lowest.sched_priority = 1;
  const bool set = ::sched_setscheduler(0, SCHED_FIFO, &lowest) == 0;
  lowest.sched_priority = 0;
  if (set) ::sched_setscheduler(0, SCHED_OTHER, &lowest);
  return From(set);
}
Result RobustList() {
  void* head = nullptr;
  std::size_t size = 0;
  return From(::syscall(SYS_get_robust_list, Victim(), &head, &size) == 0);
}

}  // namespace

const std::vector<Attack>& SchedulingAttacks() {
  static const std::vector<Attack> attacks = {
      {"renice", Renice},
      {"reschedule", Reschedule},
      {"sched-setattr", ScheduleAttributes},
      {"pin-to-processor", Pin},
      {"io-priority", IoPriority},
      {"oom-score", OfferToOomKiller},
      {"raise-priority", RaisePriority},
      {"real-time", RealTime},
      {"robust-list", RobustList},
  };
  return attacks;
}

}  // namespace writ::hostile
