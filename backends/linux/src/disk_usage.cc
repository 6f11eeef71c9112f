#include "writ/backends/linux/disk_usage.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>
#include <optional>
#include <set>
#include <sstream>
#include <string_view>

#include "writ/base/file.h"

namespace writ::backends {
namespace {

constexpr std::uint64_t kBlock = 512;     // st_blocks, whatever the file system's own
constexpr std::size_t kOpenLevels = 100;  // directories of one path that are open at once
constexpr std::uint64_t kProcLimit = 8u << 20;

struct CloseDir {
  void operator()(DIR* dir) const { ::closedir(dir); }
};
using DirStream = std::unique_ptr<DIR, CloseDir>;

class Measurement {
 public:
  Measurement(const DiskLimits& limits, std::set<dev_t> devices)
      : limits_(limits), devices_(std::move(devices)) {}

  bool Passed() const {
    return (limits_.bytes != 0 && usage_.bytes > limits_.bytes) ||
           (limits_.files != 0 && usage_.files > limits_.files);
  }
  void AddTree(int root);
  void AddNamelessOf(pid_t pid);
  const DiskUsage& usage() const { return usage_; }

 private:
  // A directory on the way down. Its descriptor is closed while the walk is far below it.
  struct Level {
    UniqueFd fd;
    dev_t dev = 0;
    ino_t ino = 0;
    std::vector<std::string> left;  // directories in it that were not entered yet
  };

  void Add(const struct stat& st) {
    // Another name of a file, or another descriptor of a nameless one, was counted already.
    if (st.st_nlink != 1 && !S_ISDIR(st.st_mode) && !several_.insert({st.st_dev, st.st_ino}).second)
      return;
    usage_.bytes += static_cast<std::uint64_t>(st.st_blocks) * kBlock;
    ++usage_.files;
  }
  void AddNameless(const struct stat& st) {
    if (S_ISREG(st.st_mode) && st.st_nlink == 0 && devices_.count(st.st_dev) != 0) Add(st);
  }
  std::optional<Level> Enter(int parent, const char* name);
  bool Return(Level& to, int from);
  void AddDescriptors(int task, const std::string& name);
  void AddMappings(int tasks, const std::string& thread);
  bool LookAllowed() {
    if (++looks_ <= DiskMeter::kMaxDescriptors) return true;
    usage_.out_of_sight = true;
    return false;
  }

  DiskLimits limits_;
  std::set<dev_t> devices_;
  std::set<std::pair<dev_t, ino_t>> several_;
  DiskUsage usage_;
  std::size_t looks_ = 0;
};

std::optional<Measurement::Level> Measurement::Enter(int parent, const char* name) {
  Level level;
  level.fd.reset(::openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  struct stat own {};
  if (!level.fd || ::fstat(level.fd.get(), &own) != 0) {
    // Gone or made something else meanwhile is no secret; what may not be read is.
    if (errno != ENOENT && errno != ENOTDIR && errno != ELOOP) usage_.out_of_sight = true;
    return std::nullopt;
  }
  if (devices_.count(own.st_dev) == 0) return std::nullopt;
  level.dev = own.st_dev;
  level.ino = own.st_ino;
  // A descriptor of its own for the stream: it is closed with it.
  DirStream stream(::fdopendir(::openat(level.fd.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)));
  if (stream == nullptr) {
    usage_.out_of_sight = true;
    return std::nullopt;
  }
  while (const dirent* entry = ::readdir(stream.get())) {
    if (std::strcmp(entry->d_name, ".") == 0 || std::strcmp(entry->d_name, "..") == 0) continue;
    struct stat st {};
    if (::fstatat(level.fd.get(), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno != ENOENT) usage_.out_of_sight = true;
      continue;
    }
    if (devices_.count(st.st_dev) == 0) continue;
    Add(st);
    if (Passed()) return std::nullopt;
    if (S_ISDIR(st.st_mode)) level.left.emplace_back(entry->d_name);
  }
  return level;
}

// Opens a level again from a directory in it; false where that was moved away meanwhile.
bool Measurement::Return(Level& to, int from) {
  if (to.fd) return true;
  to.fd.reset(::openat(from, "..", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  struct stat st {};
  return to.fd && ::fstat(to.fd.get(), &st) == 0 && st.st_dev == to.dev && st.st_ino == to.ino;
}

void Measurement::AddTree(int root) {
  std::vector<Level> path;
  if (auto top = Enter(root, ".")) path.push_back(std::move(*top));
  while (!path.empty() && !Passed()) {
    Level& here = path.back();
    if (here.left.empty()) {
      if (path.size() > 1 && !Return(path[path.size() - 2], here.fd.get())) {
        usage_.out_of_sight = true;
        return;
      }
      path.pop_back();
      continue;
    }
    std::string name = std::move(here.left.back());
    here.left.pop_back();
    auto below = Enter(here.fd.get(), name.c_str());
    if (!below) continue;
    path.push_back(std::move(*below));
    if (path.size() > kOpenLevels) path[path.size() - 1 - kOpenLevels].fd.reset();
  }
}

void Measurement::AddDescriptors(int task, const std::string& name) {
  UniqueFd fds(::openat(task, (name + "/fd").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fds) {
    if (errno != ENOENT && errno != ESRCH) usage_.out_of_sight = true;
    return;
  }
  DirStream stream(::fdopendir(::openat(fds.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)));
  while (const dirent* entry = stream ? ::readdir(stream.get()) : nullptr) {
    if (entry->d_name[0] == '.') continue;
    if (!LookAllowed()) return;
    struct stat st {};
    if (::fstatat(fds.get(), entry->d_name, &st, 0) != 0) {
      if (errno == EACCES || errno == EPERM) usage_.out_of_sight = true;
      continue;
    }
    AddNameless(st);
    if (!S_ISSOCK(st.st_mode)) continue;
    // A descriptor that was sent and not yet received is in no process's table.
    UniqueFd info(
        ::openat(task, (name + "/fdinfo/" + entry->d_name).c_str(), O_RDONLY | O_CLOEXEC));
    auto text = info ? ReadAll(info.get(), kProcLimit) : Result<std::string>(std::string());
    auto at = text ? text->find("scm_fds:") : std::string::npos;
    if (at == std::string::npos) continue;
    at = text->find_first_not_of(" \t", at + 8);
    if (at != std::string::npos && (*text)[at] != '0') usage_.out_of_sight = true;
  }
}

// Mappings are the process's; only its first thread's place in /proc leads to the files.
void Measurement::AddMappings(int tasks, const std::string& thread) {
  auto read = [tasks](const std::string& file) {
    UniqueFd maps(::openat(tasks, file.c_str(), O_RDONLY | O_CLOEXEC));
    if (!maps && (errno == ENOENT || errno == ESRCH)) return Result<std::string>(std::string());
    return maps ? ReadAll(maps.get(), kProcLimit) : Result<std::string>(Error{});
  };
  Result<std::string> text = read("../maps");
  if (text && text->empty()) {  // the first thread has ended
    text = read(thread + "/maps");
    if (text && text->find(" (deleted)\n") == std::string::npos) return;
    usage_.out_of_sight = true;
    return;
  }
  if (!text) {
    usage_.out_of_sight = true;
    return;
  }
  std::istringstream lines(*text);
  for (std::string line; std::getline(lines, line);) {
    if (!line.ends_with(" (deleted)")) continue;
    if (!LookAllowed()) return;
    const std::string file = "../map_files/" + line.substr(0, line.find(' '));
    struct stat st {};
    if (::fstatat(tasks, file.c_str(), &st, 0) == 0)
      AddNameless(st);
    else if (errno != ENOENT)
      usage_.out_of_sight = true;  // only root may look
  }
}

// Every thread: each may have a descriptor table of its own, also after the first one has ended.
void Measurement::AddNamelessOf(pid_t pid) {
  const std::string base = "/proc/" + std::to_string(pid) + "/task";
  UniqueFd tasks(::open(base.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!tasks) return;
  DirStream stream(::fdopendir(::openat(tasks.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)));
  bool first = true;
  while (const dirent* entry = stream ? ::readdir(stream.get()) : nullptr) {
    if (entry->d_name[0] == '.') continue;
    if (Passed() || !LookAllowed()) return;
    AddDescriptors(tasks.get(), entry->d_name);
    if (first) AddMappings(tasks.get(), entry->d_name);
    first = false;
  }
}

std::uint64_t Drop(std::uint64_t before, std::uint64_t now) {
  return before > now ? before - now : 0;
}

}  // namespace

DiskMeter::DiskMeter(std::vector<UniqueFd> trees) : trees_(std::move(trees)) {
  at_start_ = at_last_ = LookAtFree();
}

DiskMeter::Frees DiskMeter::LookAtFree() const {
  Frees frees;
  for (const UniqueFd& tree : trees_) {
    struct stat st {};
    struct statvfs fs {};
    if (::fstat(tree.get(), &st) != 0 || ::fstatvfs(tree.get(), &fs) != 0) continue;
    frees[st.st_dev] = Free{static_cast<std::uint64_t>(fs.f_bfree) * fs.f_frsize, fs.f_ffree};
  }
  return frees;
}

DiskMeter::Lost DiskMeter::LostSinceLastMeasure() const {
  Lost lost;
  for (const auto& [device, now] : LookAtFree()) {
    auto before = at_last_.find(device);
    if (before == at_last_.end()) continue;
    lost.bytes += Drop(before->second.bytes, now.bytes);
    lost.files += Drop(before->second.files, now.files);
  }
  return lost;
}

DiskUsage DiskMeter::Measure(const std::vector<pid_t>& members, const DiskLimits& limits) {
  at_last_ = LookAtFree();
  std::set<dev_t> devices;
  for (const auto& [device, free] : at_last_) devices.insert(device);
  Measurement measurement(limits, devices);
  for (const UniqueFd& tree : trees_) measurement.AddTree(tree.get());
  for (pid_t pid : members) {
    if (measurement.Passed()) break;
    measurement.AddNamelessOf(pid);
  }
  DiskUsage usage = measurement.usage();
  if (!usage.out_of_sight) return usage;
  DiskUsage lost;
  for (const auto& [device, now] : at_last_) {
    lost.bytes += Drop(at_start_[device].bytes, now.bytes);
    lost.files += Drop(at_start_[device].files, now.files);
  }
  usage.bytes = std::max(usage.bytes, lost.bytes);
  usage.files = std::max(usage.files, lost.files);
  return usage;
}

}  // namespace writ::backends
