#include "job_freezer.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include "writ/base/file.h"
#include "writ/base/unique_fd.h"

namespace writ::backends::microvm {
namespace {

using std::chrono::steady_clock;

constexpr char kGroups[] = "/sys/fs/cgroup";
constexpr std::chrono::seconds kBound{1};
constexpr std::uint64_t kFileLimit = 4096;

std::vector<std::string> JobGroups() {
  std::vector<std::string> groups;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(kGroups, error))
    if (entry.path().filename().string().starts_with("writ-")) groups.push_back(entry.path());
  return groups;
}

Status Write(const std::string& group, const char* value) {
  UniqueFd file(::open((group + "/cgroup.freeze").c_str(), O_WRONLY | O_CLOEXEC));
  if (!file) return SysError(errno, "agent.freeze", "cannot open " + group + "/cgroup.freeze");
  return WriteAll(file.get(), value);
}

Status AwaitFrozen(const std::string& group, steady_clock::time_point bound) {
  const std::string path = group + "/cgroup.events";
  UniqueFd watch(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!watch) return SysError(errno, "agent.freeze", "cannot open " + path);
  for (;;) {
    // Read first: a change after that wakes the poll.
    WRIT_ASSIGN(const std::string events, ReadFile(path, kFileLimit));
    char seen[256];
    (void)!::pread(watch.get(), seen, sizeof seen, 0);
    if (events.find("frozen 1") != std::string::npos) return {};
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(bound - steady_clock::now()).count();
    if (left <= 0)
      return Error{ErrorKind::kUnavailable, "agent.freeze", "the job could not be held in time"};
    pollfd changed{watch.get(), POLLPRI, 0};
    ::poll(&changed, 1, static_cast<int>(left < 50 ? left : 50));
  }
}

}  // namespace

Status HoldJobs() {
  const auto bound = steady_clock::now() + kBound;
  const std::vector<std::string> groups = JobGroups();
  for (const std::string& group : groups) WRIT_TRY(Write(group, "1"));
  for (const std::string& group : groups) WRIT_TRY(AwaitFrozen(group, bound));
  return {};
}

void ReleaseJobs() {
  for (const std::string& group : JobGroups()) (void)Write(group, "0").has_value();
}

}  // namespace writ::backends::microvm
