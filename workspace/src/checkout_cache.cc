#include "writ/workspace/checkout_cache.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <optional>

#include "checkout_content.h"
#include "writ/base/encoding.h"
#include "writ/base/file.h"
#include "writ/base/folder.h"
#include "writ/base/log.h"
#include "writ/base/paths.h"
#include "writ/protocol/json.h"

namespace writ::workspace {
namespace {

constexpr std::string_view kFillPrefix = ".fill-";
constexpr std::string_view kGonePrefix = ".gone-";  // taken out of use; being removed
constexpr std::string_view kRunningPrefix = ".running-";
constexpr std::string_view kLockSuffix = ".lock";
constexpr char kKeptName[] = "/kept";
constexpr std::uint64_t kMaxFactsBytes = 64 << 20;
constexpr int kMaxAttempts = 16;
constexpr mode_t kEntryMode = 0711;

Error CacheError(int err, std::string what) {
  Error error = SysError(err, "checkout.io_failed", std::move(what));
  if (err == ENOSPC) error.hint = "the file system of the runner's state directory is full";
  return error;
}

Status Flock(int fd, int how) {
  while (::flock(fd, how) != 0)
    if (errno != EINTR) return CacheError(errno, "cannot lock a checkout");
  return {};
}

bool SameFile(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

json::Value ToJson(const CheckoutFacts& facts, const std::string& epoch) {
  json::Array submodules;
  for (const std::string& path : facts.submodules) submodules.push_back(Base64Encode(path));
  return json::Object{{"epoch", epoch},
                      {"files", facts.files},
                      {"bytes", facts.bytes},
                      {"diskBytes", facts.disk_bytes},
                      {"submodules", std::move(submodules)}};
}

struct EntryFacts {
  CheckoutFacts facts;
  std::string epoch;  // when it was last vouched for
};

std::optional<EntryFacts> FromJson(const json::Value& value) {
  EntryFacts entry;
  auto number = [&](std::string_view name, std::uint64_t& into) {
    const json::Value* found = value.Find(name);
    auto integer = found != nullptr ? found->AsInteger() : std::nullopt;
    if (!integer || *integer < 0) return false;
    into = static_cast<std::uint64_t>(*integer);
    return true;
  };
  auto epoch = value.FindString("epoch");
  const json::Value* submodules = value.Find("submodules");
  if (!epoch || submodules == nullptr || !submodules->is_array() ||
      !number("files", entry.facts.files) || !number("bytes", entry.facts.bytes) ||
      !number("diskBytes", entry.facts.disk_bytes))
    return std::nullopt;
  entry.epoch = *epoch;
  for (const json::Value& item : submodules->array()) {
    auto path = item.if_string() != nullptr ? Base64Decode(*item.if_string()) : std::nullopt;
    if (!path) return std::nullopt;
    entry.facts.submodules.push_back(std::move(*path));
  }
  return entry;
}

std::string NameOf(const CheckoutKey& key) {
  return protocol::Sha256("writ checkout 1\nsha1\n" + key.bundle.ToHex() + "\n" + key.base_ref +
                          "\n" + key.objects_directory)
      .ToHex();
}

std::string BootId() {
  auto id = ReadFile("/proc/sys/kernel/random/boot_id", 100);
  return id ? id->substr(0, id->find('\n')) : "unknown";
}

}  // namespace

struct CheckoutCache::State {
  std::string path;
  CheckoutCacheLimits limits;
  UniqueFd dir;
  mutable std::mutex mutex;  // guards epoch and the two below it
  std::string epoch;
  Exposures exposures;
  bool stale_epoch = false;  // the one on the disk is an older one
  std::string marker;        // name of the file that says this process has the cache open
  UniqueFd marker_lock;

  std::vector<std::string> Names() const;
  Status StartEpoch();
  Status RenewEpoch();
  std::string Epoch() const {
    std::lock_guard lock(mutex);
    return epoch;
  }
  // Whether what that epoch vouched for may be used as it is.
  bool Vouches(const std::string& of) const {
    std::lock_guard lock(mutex);
    return exposures.now == 0 && of == epoch;
  }
  void Sweep() const;
  // The lock file of an entry, open and locked; nullopt where it was replaced meanwhile.
  Result<std::optional<UniqueFd>> Lock(const std::string& name, int how) const;
  std::optional<EntryFacts> Load(const std::string& name) const;
  Status Note(const std::string& name, const CheckoutFacts& facts, const std::string& of) const;
  Status Fill(const std::string& name, CheckoutContent& content) const;
  Result<UniqueFd> Turn() const;
  Status TakeOut(const std::string& name, const UniqueFd& lock) const;
  std::uint64_t BytesKept(const std::string& name) const;
};

CheckoutCache::CheckoutCache(std::unique_ptr<State> state) : state_(std::move(state)) {}

CheckoutCache::~CheckoutCache() {
  // An exposure without an end, or an end that the disk did not take: no orderly end of ours.
  if (state_->exposures.now > 0 || state_->stale_epoch) return;
  (void)::unlinkat(state_->dir.get(), state_->marker.c_str(), 0);
}

std::string CheckoutCache::TreePath(const CheckoutKey& key) const {
  return TreePathIn(state_->path, key);
}

std::string CheckoutCache::TreePathIn(const std::string& directory, const CheckoutKey& key) {
  return directory + "/" + NameOf(key) + "/tree";
}

std::string CheckoutCache::KeptPath(const CheckoutKey& key) const {
  return KeptPathIn(state_->path, key);
}

std::string CheckoutCache::KeptPathIn(const std::string& directory, const CheckoutKey& key) {
  return directory + "/" + NameOf(key) + kKeptName;
}

Result<std::unique_ptr<CheckoutCache>> CheckoutCache::Open(const std::string& directory,
                                                           const CheckoutCacheLimits& limits) {
  auto state = std::make_unique<State>();
  state->path = directory;
  state->limits = limits;
  WRIT_ASSIGN(state->dir, MakeDirectories(directory, 0711));
  if (::fchmod(state->dir.get(), 0711) != 0)
    return CacheError(errno, "cannot set the mode of the checkout cache");
  {
    WRIT_ASSIGN(UniqueFd turn, state->Turn());
    WRIT_TRY(state->StartEpoch());
    state->Sweep();
  }
  std::unique_ptr<CheckoutCache> cache(new CheckoutCache(std::move(state)));
  cache->Trim();
  return cache;
}

std::vector<std::string> CheckoutCache::State::Names() const {
  std::vector<std::string> names;
  UniqueFd copy(::openat(dir.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  DIR* stream = copy ? ::fdopendir(copy.get()) : nullptr;
  if (stream == nullptr) return names;
  (void)copy.release();
  while (dirent* entry = ::readdir(stream)) {
    std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  ::closedir(stream);
  return names;
}

// An epoch lasts from one unclean stop to the next. A marker that nobody holds was left by a
// process that was killed; another boot may have lost what was only in memory.
Status CheckoutCache::State::StartEpoch() {
  bool clean = true;
  for (const std::string& name : Names()) {
    if (!name.starts_with(kRunningPrefix)) continue;
    if (auto held = LockFile(dir.get(), name); held) {
      clean = false;
      (void)::unlinkat(dir.get(), name.c_str(), 0);
    }
  }
  auto noted = ReadFile(path + "/.epoch", 1000);
  if (clean && noted && noted->starts_with(BootId() + ":")) {
    epoch = *noted;
  } else {
    WRIT_TRY(RenewEpoch());
  }
  marker = std::string(kRunningPrefix) + HexEncode(RandomBytes(8));
  WRIT_ASSIGN(marker_lock, LockFile(dir.get(), marker));
  return {};
}

Status CheckoutCache::State::RenewEpoch() {
  epoch = BootId() + ":" + HexEncode(RandomBytes(8));
  return WriteFileAtomic(dir.get(), ".epoch", epoch, 0600);
}

CheckoutExposure::~CheckoutExposure() {
  if (cache_ != nullptr) cache_->EndExposure();
}

CheckoutExposure CheckoutCache::Expose() {
  std::lock_guard lock(state_->mutex);
  ++state_->exposures.begun;
  ++state_->exposures.now;
  return CheckoutExposure(this);
}

void CheckoutCache::EndExposure() {
  std::lock_guard lock(state_->mutex);
  // A process that is killed before this leaves its marker, which has the same effect.
  state_->stale_epoch = !state_->RenewEpoch();
  --state_->exposures.now;
}

CheckoutCache::Exposures CheckoutCache::Exposed() const {
  std::lock_guard lock(state_->mutex);
  return state_->exposures;
}

void CheckoutCache::State::Sweep() const {
  for (const std::string& name : Names()) {
    if (name.starts_with(kGonePrefix)) {
      (void)RemoveTreeBeneath(dir.get(), name);
    } else if (name.starts_with(kFillPrefix)) {
      // A fill that is alive holds its entry's lock.
      std::string entry = name.substr(kFillPrefix.size());
      auto lock = Lock(entry, LOCK_EX | LOCK_NB);
      if (lock && *lock) {
        (void)RemoveTreeBeneath(dir.get(), name);
        (void)::unlinkat(dir.get(), (entry + std::string(kLockSuffix)).c_str(), 0);
      }
    }
  }
}

Result<std::optional<UniqueFd>> CheckoutCache::State::Lock(const std::string& name, int how) const {
  std::string file = name + std::string(kLockSuffix);
  UniqueFd fd(::openat(dir.get(), file.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd) return CacheError(errno, "cannot lock a checkout");
  WRIT_TRY(Flock(fd.get(), how));
  struct stat ours {
  }, there{};
  if (::fstat(fd.get(), &ours) != 0 || ::fstatat(dir.get(), file.c_str(), &there, 0) != 0 ||
      !SameFile(ours, there))
    return std::optional<UniqueFd>();
  return std::optional<UniqueFd>(std::move(fd));
}

std::optional<EntryFacts> CheckoutCache::State::Load(const std::string& name) const {
  auto text = ReadFile(path + "/" + name + "/facts", kMaxFactsBytes);
  if (!text) return std::nullopt;
  auto value = json::Parse(*text, {.max_bytes = kMaxFactsBytes});
  return value ? FromJson(*value) : std::nullopt;
}

Status CheckoutCache::State::Note(const std::string& name, const CheckoutFacts& facts,
                                  const std::string& of) const {
  WRIT_ASSIGN(UniqueFd entry, OpenBeneath(dir.get(), name, O_RDONLY | O_DIRECTORY));
  return WriteFileAtomic(entry.get(), "facts", json::Write(ToJson(facts, of)), 0600);
}

// Under the entry's exclusive lock.
Status CheckoutCache::State::Fill(const std::string& name, CheckoutContent& content) const {
  const std::string of = Epoch();  // from before it is made
  std::string temp = std::string(kFillPrefix) + name;
  WRIT_TRY(RemoveTreeBeneath(dir.get(), temp));
  auto filled = [&]() -> Status {
    WRIT_ASSIGN(UniqueFd entry, MakeDirectoriesBeneath(dir.get(), temp, kEntryMode));
    WRIT_ASSIGN(UniqueFd tree, MakeDirectoriesBeneath(entry.get(), "tree", 0755));
    if (::fchmod(entry.get(), kEntryMode) != 0 || ::fchmod(tree.get(), 0755) != 0)
      return CacheError(errno, "cannot set the mode of a checkout");
    WRIT_ASSIGN(CheckoutFacts facts, content.Fill(tree.get()));
    // Not made durable: what a crash of the host may lose is verified after it.
    WRIT_ASSIGN(UniqueFd file,
                OpenBeneath(entry.get(), "facts", O_WRONLY | O_CREAT | O_EXCL, 0600));
    WRIT_TRY(WriteAll(file.get(), json::Write(ToJson(facts, of))));
    if (::renameat(dir.get(), temp.c_str(), dir.get(), name.c_str()) != 0)
      return CacheError(errno, "cannot put a checkout in place");
    return {};
  }();
  if (!filled) (void)RemoveTreeBeneath(dir.get(), temp);
  return filled;
}

Result<UniqueFd> CheckoutCache::State::Turn() const {
  UniqueFd turn(::openat(dir.get(), ".open", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!turn) return CacheError(errno, "cannot open the checkout cache");
  WRIT_TRY(Flock(turn.get(), LOCK_EX));
  return turn;
}

// A new entry may be made at once; whoever still uses this one keeps its files until the next
// start. `lock` is the caller's: where it is not the entry's any more, somebody else was first.
Status CheckoutCache::State::TakeOut(const std::string& name, const UniqueFd& lock) const {
  WRIT_ASSIGN(UniqueFd turn, Turn());
  std::string file = name + std::string(kLockSuffix);
  struct stat ours {
  }, there{};
  if (::fstat(lock.get(), &ours) != 0 || ::fstatat(dir.get(), file.c_str(), &there, 0) != 0 ||
      !SameFile(ours, there))
    return {};
  std::string aside = std::string(kGonePrefix) + HexEncode(RandomBytes(8));
  if (::renameat(dir.get(), name.c_str(), dir.get(), aside.c_str()) != 0)
    return CacheError(errno, "cannot set a damaged checkout aside");
  (void)::unlinkat(dir.get(), file.c_str(), 0);
  return {};
}

Result<CheckoutCache::Found> CheckoutCache::Get(const CheckoutKey& key, CheckoutContent& content) {
  const std::string name = NameOf(key);
  const std::string tree_path = TreePath(key);
  bool filled = false;
  for (int attempt = 0; attempt < kMaxAttempts; ++attempt) {
    WRIT_ASSIGN(std::optional<UniqueFd> lock, state_->Lock(name, LOCK_SH));
    if (!lock) continue;
    struct stat st {};
    const bool there = ::fstatat(state_->dir.get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0;
    if (!there) {
      lock.reset();
      WRIT_ASSIGN(std::optional<UniqueFd> alone, state_->Lock(name, LOCK_EX));
      if (!alone || ::fstatat(state_->dir.get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0)
        continue;  // somebody else did it meanwhile
      if (Status done = state_->Fill(name, content); !done) {
        (void)::unlinkat(state_->dir.get(), (name + std::string(kLockSuffix)).c_str(), 0);
        return std::move(done).error().With("filling a checkout");
      }
      filled = true;
      continue;
    }
    std::optional<EntryFacts> entry = state_->Load(name);
    Status sound = entry ? Status{} : Status(Error{.code = "checkout.damaged"});
    if (entry && !filled && !state_->Vouches(entry->epoch)) {
      const std::string epoch = state_->Epoch();
      Result<UniqueFd> tree = OpenDirectory(tree_path);
      Result<CheckoutFacts> verified =
          tree ? content.Verify(tree->get()) : Result<CheckoutFacts>(std::move(tree).error());
      // We could read what we made: where we cannot, it was altered.
      if (verified && (st.st_mode & 07777) != kEntryMode)
        verified = Error{ErrorKind::kIntegrity, "checkout.damaged", "its folder has another mode"};
      const bool altered = !verified && (verified.error().kind == ErrorKind::kIntegrity ||
                                         verified.error().sys_errno == EACCES);
      if (!verified && !altered) return std::move(verified).error().With("verifying a checkout");
      sound = verified ? state_->Note(name, *verified, epoch) : Status(std::move(verified).error());
      if (verified && !sound) return std::move(sound).error();
    }
    if (!sound) {
      log::Warn("workspace.checkout_damaged", "a damaged checkout is made again",
                {{"checkout", name}, {"error", sound.error().message}});
      WRIT_TRY(state_->TakeOut(name, *lock));
      continue;
    }
    (void)::futimens(lock->get(), nullptr);  // the last use
    auto lease =
        std::make_shared<CheckoutLease>(tree_path, std::move(entry->facts), std::move(*lock));
    if (filled) Trim();
    return Found{std::move(lease), !filled};
  }
  return Error{.kind = ErrorKind::kUnavailable,
               .code = "checkout.busy",
               .message = "a checkout is made and removed again and again",
               .hint = "raise the limits of the checkout cache"};
}

std::uint64_t CheckoutCache::State::BytesKept(const std::string& name) const {
  std::uint64_t bytes = 0;
  auto folder = OpenBeneath(dir.get(), name + kKeptName, O_RDONLY | O_DIRECTORY);
  auto names = folder ? NamesIn(folder->get(), "checkout.io_failed")
                      : Result<std::vector<std::string>>(std::vector<std::string>());
  if (!names) return 0;
  for (const std::string& file : *names) {
    struct stat st {};
    if (::fstatat(folder->get(), file.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0)
      bytes += static_cast<std::uint64_t>(st.st_blocks) * 512;
  }
  return bytes;
}

void CheckoutCache::Trim() {
  struct Entry {
    std::string name;
    std::uint64_t bytes = 0;
    std::int64_t used_ns = 0;
  };
  std::vector<Entry> entries;
  std::uint64_t total = 0;
  for (const std::string& name : state_->Names()) {
    if (name.starts_with(".") || name.ends_with(kLockSuffix)) continue;
    Entry entry{.name = name};
    if (auto facts = state_->Load(name)) entry.bytes = facts->facts.disk_bytes;
    entry.bytes += state_->BytesKept(name);
    struct stat st {};
    if (::fstatat(state_->dir.get(), (name + std::string(kLockSuffix)).c_str(), &st, 0) == 0)
      entry.used_ns = st.st_mtim.tv_sec * std::int64_t{1'000'000'000} + st.st_mtim.tv_nsec;
    total += entry.bytes;
    entries.push_back(std::move(entry));
  }
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.used_ns < b.used_ns; });
  std::size_t left = entries.size();
  for (const Entry& entry : entries) {
    if (total <= state_->limits.max_bytes && left <= state_->limits.max_entries) return;
    auto alone = state_->Lock(entry.name, LOCK_EX | LOCK_NB);
    if (!alone || !*alone) continue;  // in use
    std::string aside = std::string(kGonePrefix) + HexEncode(RandomBytes(8));
    if (::renameat(state_->dir.get(), entry.name.c_str(), state_->dir.get(), aside.c_str()) != 0)
      continue;
    (void)::unlinkat(state_->dir.get(), (entry.name + std::string(kLockSuffix)).c_str(), 0);
    total -= entry.bytes;
    --left;
    if (Status removed = RemoveTreeBeneath(state_->dir.get(), aside); !removed)
      log::Warn("workspace.checkout_cleanup", "an old checkout could not all be removed",
                {{"error", removed.error().ToString()}});
  }
}

}  // namespace writ::workspace
