#include "writ/backends/linux/process_mark.h"

#include <csignal>
#include <sstream>

#include "writ/backends/linux/pidfd.h"
#include "writ/backends/linux/process_facts.h"
#include "writ/base/file.h"

namespace writ::backends {
namespace {

std::string BootId() {
  auto text = ReadFile("/proc/sys/kernel/random/boot_id", 256);
  if (!text) return {};
  return text->substr(0, text->find('\n'));
}

}  // namespace

std::optional<ProcessMark> ProcessMark::Of(pid_t pid) {
  ProcessMark mark{pid, StartTicksOf(pid), BootId()};
  if (mark.start_ticks == 0 || mark.boot_id.empty()) return std::nullopt;
  return mark;
}

std::optional<ProcessMark> ProcessMark::Parse(std::string_view text) {
  ProcessMark mark;
  std::istringstream in{std::string(text)};
  std::string extra;
  if (!(in >> mark.pid >> mark.start_ticks >> mark.boot_id) || in >> extra) return std::nullopt;
  if (mark.pid <= 1 || mark.start_ticks == 0) return std::nullopt;
  return mark;
}

std::string ProcessMark::Text() const {
  return std::to_string(pid) + " " + std::to_string(start_ticks) + " " + boot_id;
}

bool OfThisBoot(const ProcessMark& mark) {
  return mark.boot_id == BootId();
}

bool KillMarked(const ProcessMark& mark) {
  if (mark.pid <= 1 || !OfThisBoot(mark)) return false;
  auto pidfd = OpenPidfd(mark.pid);
  if (!pidfd || StartTicksOf(mark.pid) != mark.start_ticks) return false;
  return SignalPidfd(pidfd->get(), SIGKILL) == 0;
}

}  // namespace writ::backends
