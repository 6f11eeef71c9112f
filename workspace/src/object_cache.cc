#include "writ/workspace/object_cache.h"

#include <dirent.h>
#include <fcntl.h>
#include <git2.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <filesystem>
#include <map>
#include <mutex>
#include <set>
#include <vector>

#include "git_library.h"
#include "history.h"
#include "pack_store.h"
#include "writ/base/encoding.h"
#include "writ/base/file.h"
#include "writ/base/log.h"
#include "writ/base/paths.h"

namespace writ::workspace {
namespace {

constexpr std::string_view kFillPrefix = ".fill-";
constexpr std::size_t kPackHeaderBytes = 12;
constexpr std::size_t kKeptOpen = 8;
constexpr std::string_view kDamagedPrefix = ".damaged-";

using Indexer = GitPtr<git_indexer, git_indexer_free>;

// Takes a bundle piece by piece: hashes all of it, keeps the header, and hands the pack to
// libgit2's indexer. An error of the content is kept until the hash is known, because bytes that
// are not those of the hash are a failure of the transfer, whatever they say.
class BundleIntake {
 public:
  BundleIntake(std::string pack_directory, std::uint64_t bundle_bytes)
      : pack_directory_(std::move(pack_directory)), bundle_bytes_(bundle_bytes) {}

  void Take(std::string_view bytes) {
    hasher_.Update(bytes);
    if (!content_.has_value()) return;
    if (indexer_.get() == nullptr) {
      head_.append(bytes);
      content_ = TakeHeader();
      return;
    }
    content_ = Append(bytes);
  }

  Result<BundleHeader> Finish(const protocol::Digest& expected) {
    if (hasher_.Finish() != expected)
      return Error{.kind = ErrorKind::kIntegrity,
                   .code = "transfer.bundle_hash",
                   .message = "the bundle that arrived is not the one of its hash"};
    WRIT_TRY(std::move(content_));
    if (indexer_.get() == nullptr) {
      auto header = ParseBundleHeader(head_);
      if (!header) return std::move(header).error();
      return Error{.kind = ErrorKind::kInvalid, .code = "bundle.no_pack", .message = "no pack"};
    }
    if (::git_indexer_commit(indexer_.get(), &progress_) != 0)
      return GitError(ErrorKind::kInvalid, "workspace.bundle_pack",
                      "the bundle's pack is damaged or incomplete");
    return std::move(header_);
  }
  std::string_view header_text() const {
    return std::string_view(head_).substr(0, header_.pack_offset);
  }

 private:
  Status TakeHeader() {
    // The header ends at the first empty line; only then is it read.
    if (head_.find("\n\n") == std::string::npos && head_.size() < kMaxBundleHeaderBytes &&
        std::string_view("# v").starts_with(std::string_view(head_).substr(0, 3)))
      return {};
    std::size_t end = head_.find("\n\n");
    if (end != std::string::npos && head_.size() < end + 2 + kPackHeaderBytes) return {};
    WRIT_ASSIGN(header_, ParseBundleHeader(head_));
    if (!header_.prerequisites.empty())
      return Error{.kind = ErrorKind::kInvalid,
                   .code = "workspace.bundle_prerequisites",
                   .message = "the bundle needs commits that it does not hold",
                   .hint = "capture from a complete repository"};
    WRIT_TRY(CheckObjectCount());
    git_indexer_options options;
    ::git_indexer_options_init(&options, GIT_INDEXER_OPTIONS_VERSION);
    if (::git_indexer_new(indexer_.out(), pack_directory_.c_str(), 0444, nullptr, &options) != 0)
      return GitError(ErrorKind::kInternal, "cache.index_failed", "cannot index a pack");
    return Append(std::string_view(head_).substr(header_.pack_offset));
  }

  // The indexer makes room for as many objects as the pack's header claims, so a false claim must
  // not reach it. No object takes less than a byte of header and eight of deflated data.
  Status CheckObjectCount() const {
    std::uint64_t count = 0;
    for (std::size_t i = 8; i < kPackHeaderBytes; ++i)
      count = count << 8 | static_cast<unsigned char>(head_[header_.pack_offset + i]);
    if (count <= (bundle_bytes_ - std::min(bundle_bytes_, header_.pack_offset)) / 9) return {};
    return Error{.kind = ErrorKind::kInvalid,
                 .code = "workspace.bundle_pack",
                 .message = "the bundle's pack claims more objects than it has room for"};
  }

  Status Append(std::string_view bytes) {
    if (bytes.empty()) return {};
    if (::git_indexer_append(indexer_.get(), bytes.data(), bytes.size(), &progress_) != 0)
      return GitError(ErrorKind::kInvalid, "workspace.bundle_pack",
                      "the bundle's pack is damaged or incomplete");
    return {};
  }

  std::string pack_directory_;
  std::uint64_t bundle_bytes_;
  protocol::Sha256Hasher hasher_;
  std::string head_;
  BundleHeader header_;
  Indexer indexer_;
  git_indexer_progress progress_{};
  Status content_;
};

// Every ref of the bundle and its ancestors are there: checked once, when the entry is made.
Status CheckRefs(const BundleHeader& header, const std::string& objects) {
  WRIT_ASSIGN(auto store, PackStore::Open(objects));
  for (const BundleRef& ref : header.refs) {
    ObjectId id = ref.id;
    auto object = ReadPeeled(*store, id);
    if (!object)
      return Error{.kind = ErrorKind::kInvalid,
                   .code = "workspace.bundle_incomplete",
                   .message = "the bundle does not hold what its ref names"};
    if (object->type == ObjectType::kCommit) WRIT_TRY(CheckHistory(*store, id));
  }
  return {};
}

}  // namespace

CacheEntry::CacheEntry(std::string objects_directory, BundleHeader header,
                       std::shared_ptr<PackStore> store, UniqueFd use)
    : objects_directory_(std::move(objects_directory)),
      header_(std::move(header)),
      store_(std::move(store)),
      use_(std::move(use)) {}
CacheEntry::~CacheEntry() = default;

void CacheEntry::NoteUse() const {
  (void)::futimens(use_.get(), nullptr);
}

struct ObjectCache::State {
  GitLibrary library;
  std::string path;
  UniqueFd dir;
  ObjectCacheLimits limits;
  std::mutex mutex;  // guards the three below
  std::map<protocol::Digest, std::weak_ptr<const CacheEntry>> open;
  std::map<protocol::Digest, std::shared_ptr<std::mutex>> filling;
  // The bundles of the last runs, newest last: opening an entry hashes its whole pack index.
  std::vector<std::pair<protocol::Digest, std::shared_ptr<const CacheEntry>>> recent;

  // Under the mutex.
  void Keep(const protocol::Digest& bundle, std::shared_ptr<const CacheEntry> entry);
  void Forget(const protocol::Digest& bundle);

  Result<std::shared_ptr<const CacheEntry>> OpenEntry(const std::string& name) const;
  Status Fill(const protocol::Digest& bundle, const std::string& name, const BlobSource& blobs);
  Status FillInto(const std::string& temp, const protocol::Digest& bundle, const BlobSource& blobs);
  void SetAside(const std::string& name) const;
  void Sweep() const;
  std::vector<std::string> Names() const;  // of everything in the directory
};

ObjectCache::ObjectCache(std::unique_ptr<State> state) : state_(std::move(state)) {}
ObjectCache::~ObjectCache() = default;

Result<std::unique_ptr<ObjectCache>> ObjectCache::Open(const std::string& directory,
                                                       const ObjectCacheLimits& limits) {
  auto state = std::make_unique<State>();
  state->path = directory;
  state->limits = limits;
  WRIT_ASSIGN(state->dir, MakeDirectories(directory, 0711));
  if (::fchmod(state->dir.get(), 0711) != 0)
    return SysError(errno, "cache.open_failed", "cannot set the mode of the object cache");
  state->Sweep();
  return std::unique_ptr<ObjectCache>(new ObjectCache(std::move(state)));
}

std::vector<std::string> ObjectCache::State::Names() const {
  std::vector<std::string> names;
  auto listing = OpenDirectory(path);
  if (!listing) return names;
  DIR* stream = ::fdopendir(listing->get());
  if (stream == nullptr) return names;
  (void)listing->release();
  while (dirent* entry = ::readdir(stream)) names.emplace_back(entry->d_name);
  ::closedir(stream);
  return names;
}

// Removes what dead fills and set-aside entries left. A fill that is alive holds its lock.
void ObjectCache::State::Sweep() const {
  for (const std::string& name : Names()) {
    if (!name.starts_with(kFillPrefix) && !name.starts_with(kDamagedPrefix)) continue;
    if (name.starts_with(kFillPrefix)) {
      auto fill = OpenBeneath(dir.get(), name, O_RDONLY | O_DIRECTORY);
      struct stat st {};
      // A young one may be between its birth and its lock.
      if (!fill || ::fstat(fill->get(), &st) != 0 || st.st_mtime + 60 > ::time(nullptr) ||
          !LockFile(fill->get(), "lock"))
        continue;
    }
    (void)RemoveTreeBeneath(dir.get(), name);
  }
}

void ObjectCache::State::Keep(const protocol::Digest& bundle,
                              std::shared_ptr<const CacheEntry> entry) {
  Forget(bundle);
  if (recent.size() >= kKeptOpen) recent.erase(recent.begin());
  recent.emplace_back(bundle, std::move(entry));
}

void ObjectCache::State::Forget(const protocol::Digest& bundle) {
  std::erase_if(recent, [&](const auto& kept) { return kept.first == bundle; });
}

Result<std::shared_ptr<const CacheEntry>> ObjectCache::State::OpenEntry(
    const std::string& name) const {
  std::string entry_path = path + "/" + name;
  WRIT_ASSIGN(UniqueFd use, OpenBeneath(dir.get(), name + "/header", O_RDONLY));
  while (::flock(use.get(), LOCK_SH) != 0)
    if (errno != EINTR) return SysError(errno, "cache.lock_failed", "cannot lock a cache entry");
  // Removed before it was locked: that header belongs to nothing.
  struct stat held {
  }, there{};
  if (::fstat(use.get(), &held) != 0 ||
      ::fstatat(dir.get(), (name + "/header").c_str(), &there, AT_SYMLINK_NOFOLLOW) != 0 ||
      held.st_ino != there.st_ino)
    return Error{.kind = ErrorKind::kNotFound,
                 .code = "cache.removed",
                 .message = "a cache entry was removed meanwhile"};
  auto text = ReadAll(use.get(), kMaxBundleHeaderBytes + 4);
  if (!text) return std::move(text).error();
  auto header = ParseBundleHeader(*text);
  if (!header)
    return Error{.kind = ErrorKind::kIntegrity,
                 .code = "cache.damaged",
                 .message = "the header of a cache entry cannot be read"};
  WRIT_ASSIGN(auto store, PackStore::Open(entry_path + "/objects"));
  auto entry = std::make_shared<CacheEntry>(entry_path + "/objects", std::move(*header),
                                            std::move(store), std::move(use));
  entry->NoteUse();
  return std::shared_ptr<const CacheEntry>(std::move(entry));
}

void ObjectCache::State::SetAside(const std::string& name) const {
  std::string aside = std::string(kDamagedPrefix) + HexEncode(RandomBytes(8));
  if (::renameat(dir.get(), name.c_str(), dir.get(), aside.c_str()) == 0)
    (void)RemoveTreeBeneath(dir.get(), aside);
}

Status ObjectCache::State::FillInto(const std::string& temp, const protocol::Digest& bundle,
                                    const BlobSource& blobs) {
  WRIT_ASSIGN(UniqueFd entry, OpenBeneath(dir.get(), temp, O_RDONLY | O_DIRECTORY));
  WRIT_ASSIGN(UniqueFd lock, LockFile(entry.get(), "lock"));
  WRIT_ASSIGN(UniqueFd pack, MakeDirectoriesBeneath(entry.get(), "objects/pack", 0755));
  auto source = blobs(bundle);
  if (!source) {
    Error error = std::move(source).error();
    if (!error.code.starts_with("transfer.")) error.code = "transfer." + error.code;
    return std::move(error).With("fetching the bundle");
  }
  struct stat st {};
  if (::fstat(source->get(), &st) != 0)
    return SysError(errno, "transfer.read_failed", "cannot read the bundle");
  BundleIntake intake(path + "/" + temp + "/objects/pack", static_cast<std::uint64_t>(st.st_size));
  std::vector<char> buffer(1 << 20);
  for (;;) {
    ssize_t n = ::read(source->get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return SysError(errno, "transfer.read_failed", "cannot read the bundle");
    if (n == 0) break;
    intake.Take({buffer.data(), static_cast<std::size_t>(n)});
  }
  auto header = intake.Finish(bundle);
  if (!header) return std::move(header).error();
  UniqueFd out(::openat(entry.get(), "header", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!out) return SysError(errno, "cache.write_failed", "cannot write a cache entry");
  WRIT_TRY(WriteAll(out.get(), std::string(intake.header_text()) + "PACK"));
  // The umask must not hide the objects from a job that borrows them.
  for (const char* below : {".", "objects", "objects/pack"})
    if (::fchmodat(entry.get(), below, 0755, 0) != 0)
      return SysError(errno, "cache.write_failed", "cannot set the mode of a cache entry");
  WRIT_TRY(CheckRefs(*header, path + "/" + temp + "/objects"));
  (void)::unlinkat(entry.get(), "lock", 0);
  return {};
}

Status ObjectCache::State::Fill(const protocol::Digest& bundle, const std::string& name,
                                const BlobSource& blobs) {
  std::string temp = std::string(kFillPrefix) + HexEncode(RandomBytes(8));
  if (::mkdirat(dir.get(), temp.c_str(), 0700) != 0)
    return SysError(errno, "cache.write_failed", "cannot make a cache entry");
  Status filled = FillInto(temp, bundle, blobs);
  if (filled && ::renameat(dir.get(), temp.c_str(), dir.get(), name.c_str()) != 0 &&
      errno != EEXIST && errno != ENOTEMPTY)  // another process was first: as good as ours
    filled = SysError(errno, "cache.write_failed", "cannot put a cache entry in place");
  // Nothing is left of it where the rename took it.
  (void)RemoveTreeBeneath(dir.get(), temp);
  return filled;
}

Result<ObjectCache::Found> ObjectCache::Get(const protocol::Digest& bundle,
                                            const BlobSource& blobs) {
  std::string name = bundle.ToHex();
  std::shared_ptr<std::mutex> turn;
  {
    std::lock_guard lock(state_->mutex);
    if (auto entry = state_->open[bundle].lock()) {
      state_->Keep(bundle, entry);
      entry->NoteUse();
      return Found{std::move(entry), true};
    }
    auto& slot = state_->filling[bundle];
    if (!slot) slot = std::make_shared<std::mutex>();
    turn = slot;
  }
  std::lock_guard one_at_a_time(*turn);
  {
    std::lock_guard lock(state_->mutex);
    if (auto entry = state_->open[bundle].lock()) return Found{std::move(entry), true};
  }
  auto remember = [&](std::shared_ptr<const CacheEntry> entry, bool was_cached) {
    std::lock_guard lock(state_->mutex);
    state_->open[bundle] = entry;
    state_->Keep(bundle, entry);
    state_->filling.erase(bundle);
    return Found{std::move(entry), was_cached};
  };
  struct stat st {};
  if (::fstatat(state_->dir.get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0) {
    auto entry = state_->OpenEntry(name);
    if (entry) return remember(std::move(*entry), true);
    if (entry.error().code != "cache.removed") {
      log::Warn("workspace.cache_entry_damaged", "a damaged cache entry is made again",
                {{"bundle", name}, {"code", entry.error().code}});
      state_->SetAside(name);
    }
  }
  WRIT_TRY(state_->Fill(bundle, name, blobs));
  auto entry = state_->OpenEntry(name);
  if (!entry) return std::move(entry).error().With("opening a fresh cache entry");
  Found found = remember(std::move(*entry), false);
  Trim();
  return found;
}

void ObjectCache::Trim() {
  struct Entry {
    std::string name;
    std::int64_t used_at = 0;  // ns
    std::uint64_t bytes = 0;
  };
  std::vector<Entry> entries;
  std::uint64_t bytes = 0;
  for (const std::string& name : state_->Names()) {
    struct stat st {};
    if (!protocol::Digest::Parse(name) ||
        ::fstatat(state_->dir.get(), (name + "/header").c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0)
      continue;
    Entry entry{name, std::int64_t{st.st_mtim.tv_sec} * 1'000'000'000 + st.st_mtim.tv_nsec, 0};
    std::error_code gone;
    for (const auto& pack :
         std::filesystem::directory_iterator(state_->path + "/" + name + "/objects/pack", gone))
      entry.bytes += pack.file_size(gone);
    bytes += entry.bytes;
    entries.push_back(std::move(entry));
  }
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.used_at < b.used_at; });
  std::size_t left = entries.size();
  for (const Entry& entry : entries) {
    if (left <= state_->limits.max_entries && bytes <= state_->limits.max_bytes) return;
    auto use = OpenBeneath(state_->dir.get(), entry.name + "/header", O_RDONLY);
    if (!use || ::flock(use->get(), LOCK_EX | LOCK_NB) != 0) continue;  // gone, or in use
    state_->SetAside(entry.name);
    --left;
    bytes -= entry.bytes;
  }
}

std::string ObjectCache::ObjectsDirectory(const protocol::Digest& bundle) const {
  return ObjectsDirectoryIn(state_->path, bundle);
}

std::string ObjectCache::ObjectsDirectoryIn(const std::string& directory,
                                            const protocol::Digest& bundle) {
  return directory + "/" + bundle.ToHex() + "/objects";
}

void ObjectCache::Discard(const protocol::Digest& bundle) {
  std::lock_guard lock(state_->mutex);
  state_->open.erase(bundle);
  state_->Forget(bundle);
  state_->SetAside(bundle.ToHex());
}

}  // namespace writ::workspace
