#include "uid_reservation.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <optional>
#include <set>

#include "writ/base/file.h"
#include "writ/base/paths.h"
#include "writ/protocol/digest.h"
#include "writ/protocol/json.h"

namespace writ::cli {
namespace {

constexpr const char* kLockFile = "uids";
constexpr const char* kRangeFile = "uids.json";  // in the runner's state directory

std::string Words(const runner::UidRange& range) {
  return std::to_string(range.first) + "-" +
         std::to_string(std::uint64_t{range.first} + range.count - 1);
}

Error TakenError(const runner::UidRange& wanted, const runner::UidRange& taken) {
  return Error{
      .kind = ErrorKind::kConflict,
      .code = "runner.uids_taken",
      .message = "the uids " + Words(wanted) +
                 " of this runner's jobs overlap those of another runner on this machine (" +
                 Words(taken) + ")",
      .hint = "give each runner a uidRange of its own, or stop the other one"};
}

// Owned by us and written by nobody else: a lock that others could hold or replace is none.
Status CheckOwn(int fd, mode_t forbidden, const std::string& what) {
  struct stat info {};
  if (::fstat(fd, &info) != 0) return SysError(errno, "runner.uids_dir", "cannot look at " + what);
  if (info.st_uid == ::geteuid() && (info.st_mode & forbidden) == 0) return {};
  return Error{
      .kind = ErrorKind::kDenied,
      .code = "runner.uids_dir",
      .message = what + ", which keeps the uids of runners apart, can be written by others",
      .hint = "remove it, or make it root's own (chown root, chmod go-w)"};
}

Result<UniqueFd> OpenLock(const std::string& dir_path) {
  auto dir = MakeDirectories(dir_path, 0755);
  if (!dir) {
    Error error = std::move(dir).error();
    error.code = "runner.uids_dir";
    error.hint =
        "make " + dir_path + " writable for root (RuntimeDirectory=writ in a systemd unit)";
    return error;
  }
  WRIT_TRY(CheckOwn(dir->get(), S_IWGRP | S_IWOTH, dir_path));
  WRIT_ASSIGN(UniqueFd file, OpenBeneath(dir->get(), kLockFile, O_RDWR | O_CREAT, 0600));
  WRIT_TRY(CheckOwn(file.get(), 077, dir_path + "/" + kLockFile));
  return file;
}

// nullopt: it is ours now. Else a range in use that overlaps it.
Result<std::optional<runner::UidRange>> TryLock(int fd, const runner::UidRange& range) {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = static_cast<off_t>(range.first);
  lock.l_len = static_cast<off_t>(range.count);
  if (::fcntl(fd, F_OFD_SETLK, &lock) == 0) return std::optional<runner::UidRange>();
  if (errno != EAGAIN && errno != EACCES)
    return SysError(errno, "runner.uids_dir", "cannot lock this runner's uids");
  if (::fcntl(fd, F_OFD_GETLK, &lock) != 0)
    return SysError(errno, "runner.uids_dir", "cannot ask who holds this runner's uids");
  if (lock.l_type == F_UNLCK) return TryLock(fd, range);  // just given back
  return std::optional(
      runner::UidRange{static_cast<uid_t>(lock.l_start), static_cast<std::uint32_t>(lock.l_len)});
}

// Uids of the span that processes have now: of somebody who knows nothing of these locks, or of
// jobs whose runner was killed this instant.
std::set<uid_t> UidsAtWork() {
  std::set<uid_t> out;
  std::unique_ptr<DIR, int (*)(DIR*)> proc(::opendir("/proc"), ::closedir);
  if (proc == nullptr) return out;
  while (const dirent* entry = ::readdir(proc.get())) {
    if (entry->d_name[0] < '0' || entry->d_name[0] > '9') continue;
    struct stat info {};
    if (::fstatat(::dirfd(proc.get()), entry->d_name, &info, 0) == 0 &&
        info.st_uid >= kDefaultFirstUid)
      out.insert(info.st_uid);
  }
  return out;
}

Result<std::optional<runner::UidRange>> ReadLastRange(int state) {
  auto file = OpenBeneath(state, kRangeFile, O_RDONLY);
  if (!file && file.error().sys_errno == ENOENT) return std::optional<runner::UidRange>();
  if (!file) return std::move(file).error();
  WRIT_ASSIGN(std::string text, ReadAll(file->get(), 4096));
  auto value = json::Parse(text);
  const json::Value* first = value ? value->Find("first") : nullptr;
  const json::Value* count = value ? value->Find("count") : nullptr;
  const auto f = first != nullptr ? first->AsInteger() : std::nullopt;
  const auto n = count != nullptr ? count->AsInteger() : std::nullopt;
  if (!f || !n || *f < kDefaultFirstUid || *f >= kDefaultFirstUid + kDefaultUidSpan || *n < 1 ||
      *n > 65536)
    return Error{
        .kind = ErrorKind::kIntegrity,
        .code = "runner.uids_file",
        .message = std::string(kRangeFile) + " of the runner's state is not what was written",
        .hint = "remove it when no run of this runner is left"};
  return std::optional(runner::UidRange{static_cast<uid_t>(*f), static_cast<std::uint32_t>(*n)});
}

bool HasSessions(const std::string& work_dir) {
  UniqueFd sessions(::open((work_dir + "/sessions").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!sessions) return false;
  std::unique_ptr<DIR, int (*)(DIR*)> dir(::fdopendir(sessions.release()), ::closedir);
  if (dir == nullptr) return false;
  while (const dirent* entry = ::readdir(dir.get()))
    if (entry->d_name[0] != '.') return true;
  return false;
}

}  // namespace

uid_t FirstUidFor(const std::string& state_dir) {
  constexpr std::uint32_t kPlaces = 10'000;
  const auto digest = protocol::Sha256(state_dir).bytes();
  std::uint32_t number = 0;
  for (std::size_t i = 0; i < 4; ++i) number = number << 8 | static_cast<std::uint8_t>(digest[i]);
  return kDefaultFirstUid + number % kPlaces * (kDefaultUidSpan / kPlaces);
}

Result<UidReservation> ReserveUids(const UidRequest& request) {
  WRIT_ASSIGN(UniqueFd lock, OpenLock(request.lock_dir));
  if (request.choice == UidChoice::kOperators) {
    WRIT_ASSIGN(auto taken, TryLock(lock.get(), request.range));
    if (taken) return TakenError(request.range, *taken);
    return UidReservation{request.range, std::move(lock)};
  }
  WRIT_ASSIGN(UniqueFd state, MakeDirectories(request.state_dir, 0711));
  WRIT_ASSIGN(auto last, ReadLastRange(state.get()));
  const std::uint32_t count = request.range.count;
  runner::UidRange range{last ? last->first : request.range.first,
                         std::max(count, last ? last->count : 0)};
  WRIT_ASSIGN(auto taken, TryLock(lock.get(), range));
  // What is left of this runner's own runs is ended by their uids: then it is these or none.
  const bool bound = HasSessions(request.work_dir);
  if (taken && bound) return TakenError(range, *taken);
  if (!taken && !bound && !last) {
    const std::set<uid_t> at_work = UidsAtWork();
    const auto used = at_work.lower_bound(range.first);
    if (used != at_work.end() && *used - range.first < range.count)
      taken = runner::UidRange{*used, 1};
  }
  UidReservation out{range, {}};
  if (taken) {
    WRIT_ASSIGN(lock, OpenLock(request.lock_dir));  // gives back what was taken before the look
    const std::set<uid_t> at_work = UidsAtWork();
    range = runner::UidRange{kDefaultFirstUid, count};
    const std::uint64_t end = std::uint64_t{kDefaultFirstUid} + kDefaultUidSpan;
    for (;;) {
      if (std::uint64_t{range.first} + count > end)
        return Error{.kind = ErrorKind::kOverloaded,
                     .code = "runner.uids_taken",
                     .message = "runners on this machine use every uid from " +
                                std::to_string(kDefaultFirstUid) + " on",
                     .hint = "name a uidRange in runner.json"};
      const auto used = at_work.lower_bound(range.first);
      if (used != at_work.end() && *used - range.first < count) {
        range.first = *used + 1;
        continue;
      }
      WRIT_ASSIGN(taken, TryLock(lock.get(), range));
      if (!taken) break;
      range.first = taken->first + taken->count;
    }
    if (last)
      out.moved = "another runner on this machine uses the uids " + Words(out.range) +
                  ": this one's jobs get " + Words(range);
    out.range = range;
  }
  if (!last || last->first != out.range.first || last->count != out.range.count) {
    json::Object text{{"first", out.range.first}, {"count", out.range.count}};
    WRIT_TRY(WriteFileAtomic(state.get(), kRangeFile, json::Write(std::move(text)) + "\n", 0600));
  }
  out.lock = std::move(lock);
  return out;
}

}  // namespace writ::cli
