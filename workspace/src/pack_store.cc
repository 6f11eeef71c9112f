#include "pack_store.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define ZLIB_CONST
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <utility>
#include <vector>

#include "git_delta.h"
#include "sha1.h"
#include "writ/base/paths.h"

namespace writ::workspace {
namespace {

constexpr std::uint64_t kMaxObjectBytes = std::uint64_t{8} << 30;
constexpr std::size_t kMaxDeltaChain = 10'000;
constexpr std::size_t kFanoutEnd = 8 + 256 * 4;

Error Damaged(std::string_view why) {
  return Error{.kind = ErrorKind::kIntegrity,
               .code = "cache.damaged",
               .message = "a pack of the object cache " + std::string(why)};
}

std::uint32_t Be32(std::string_view bytes, std::size_t at) {
  auto byte = [&](std::size_t i) {
    return static_cast<std::uint32_t>(static_cast<unsigned char>(bytes[at + i]));
  };
  return byte(0) << 24 | byte(1) << 16 | byte(2) << 8 | byte(3);
}

std::string_view AsText(const ObjectId& id) {
  return {reinterpret_cast<const char*>(id.bytes.data()), id.bytes.size()};
}

// One inflater per thread: setting one up costs more than inflating a small blob.
struct Inflater {
  z_stream stream{};
  bool ready = ::inflateInit(&stream) == Z_OK;
  ~Inflater() { ::inflateEnd(&stream); }
};

}  // namespace

Result<MappedFile> MappedFile::Open(int dir, const std::string& name) {
  UniqueFd fd(::openat(dir, name.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd) return SysError(errno, "cache.open_failed", "cannot open a pack of the object cache");
  struct stat st {};
  if (::fstat(fd.get(), &st) != 0)
    return SysError(errno, "cache.open_failed", "cannot stat a pack of the object cache");
  MappedFile file;
  if (st.st_size == 0) return file;
  void* data =
      ::mmap(nullptr, static_cast<std::size_t>(st.st_size), PROT_READ, MAP_PRIVATE, fd.get(), 0);
  if (data == MAP_FAILED)
    return SysError(errno, "cache.map_failed", "cannot map a pack of the object cache");
  file.data_ = static_cast<const char*>(data);
  file.size_ = static_cast<std::size_t>(st.st_size);
  return file;
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<char*>(data_), size_);
}

Result<std::shared_ptr<PackStore>> PackStore::Open(const std::string& objects_directory) {
  WRIT_ASSIGN(UniqueFd dir, OpenDirectory(objects_directory + "/pack"));
  std::string pack_name;
  std::string index_name;
  {
    WRIT_ASSIGN(UniqueFd listing, dir.Duplicate());
    DIR* stream = ::fdopendir(listing.get());
    if (stream == nullptr) return SysError(errno, "cache.open_failed", "cannot list a pack folder");
    (void)listing.release();
    while (dirent* entry = ::readdir(stream)) {
      std::string_view name = entry->d_name;
      if (name.ends_with(".pack")) pack_name = name;
      if (name.ends_with(".idx")) index_name = name;
    }
    ::closedir(stream);
  }
  if (pack_name.empty() || index_name.empty()) return Damaged("is missing");
  return OpenPack(objects_directory + "/pack", pack_name.substr(0, pack_name.size() - 5));
}

Result<std::shared_ptr<PackStore>> PackStore::OpenPack(const std::string& folder,
                                                       const std::string& name) {
  WRIT_ASSIGN(UniqueFd dir, OpenDirectory(folder));
  auto store = std::make_shared<PackStore>();
  WRIT_ASSIGN(store->pack_file_, MappedFile::Open(dir.get(), name + ".pack"));
  WRIT_ASSIGN(store->index_file_, MappedFile::Open(dir.get(), name + ".idx"));
  store->pack_ = store->pack_file_.bytes();
  store->index_ = store->index_file_.bytes();
  WRIT_TRY(store->CheckShape());
  return store;
}

Result<std::shared_ptr<PackStore>> PackStore::FromBytes(std::string_view pack,
                                                        std::string_view index) {
  auto store = std::make_shared<PackStore>();
  store->pack_ = pack;
  store->index_ = index;
  WRIT_TRY(store->CheckShape());
  return store;
}

Status PackStore::CheckShape() {
  if (pack_.size() < 32 || !pack_.starts_with("PACK")) return Damaged("has no header");
  if (index_.size() < kFanoutEnd + 40 ||
      !index_.starts_with(std::string_view("\377tOc\0\0\0\2", 8)))
    return Damaged("has no version 2 index");
  std::uint32_t before = 0;
  for (std::size_t i = 0; i < 256; ++i) {
    std::uint32_t upto = Be32(index_, 8 + 4 * i);
    if (upto < before) return Damaged("has an index out of order");
    before = upto;
  }
  count_ = before;
  std::uint64_t least = kFanoutEnd + std::uint64_t{count_} * 28 + 40;
  if (index_.size() < least || (index_.size() - least) % 8 != 0 || Be32(pack_, 8) != count_)
    return Damaged("has an index of another size");
  if (index_.substr(index_.size() - 40, 20) != pack_.substr(pack_.size() - 20))
    return Damaged("has the index of another pack");
  Sha1 hash;
  hash.Update(index_.substr(0, index_.size() - 20));
  if (AsText(hash.Finish()) != index_.substr(index_.size() - 20))
    return Damaged("has an index that is not the one that was written");
  return {};
}

std::string_view PackStore::IdAt(std::uint32_t position) const {
  return index_.substr(kFanoutEnd + std::size_t{position} * 20, 20);
}

std::uint32_t PackStore::LowerBound(const ObjectId& id) const {
  std::uint8_t first = id.bytes[0];
  std::uint32_t low = first == 0 ? 0 : Be32(index_, 8 + 4 * (std::size_t{first} - 1));
  std::uint32_t high = Be32(index_, 8 + 4 * std::size_t{first});
  std::string_view wanted = AsText(id);
  while (low < high) {
    std::uint32_t middle = low + (high - low) / 2;
    if (IdAt(middle) < wanted) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

std::int64_t PackStore::Find(const ObjectId& id) const {
  std::uint32_t at = LowerBound(id);
  return at < count_ && IdAt(at) == AsText(id) ? std::int64_t{at} : -1;
}

std::size_t PackStore::AbbreviationOf(const ObjectId& id) const {
  std::size_t length = DefaultAbbreviation(count_);
  std::uint32_t at = LowerBound(id);
  auto shared_digits = [&](std::uint32_t position) {
    std::string_view other = IdAt(position);
    std::string_view own = AsText(id);
    std::size_t i = 0;
    while (i < 20 && other[i] == own[i]) ++i;
    if (i == 20) return std::size_t{0};  // the object itself
    auto differs = static_cast<unsigned char>(other[i]) ^ static_cast<unsigned char>(own[i]);
    return 2 * i + ((differs & 0xf0) == 0 ? 1 : 0);
  };
  bool itself = at < count_ && IdAt(at) == AsText(id);
  if (at > 0) length = std::max(length, shared_digits(at - 1) + 1);
  std::uint32_t after = itself ? at + 1 : at;
  if (after < count_) length = std::max(length, shared_digits(after) + 1);
  return std::min<std::size_t>(length, 40);
}

bool PackStore::OffsetAt(std::uint32_t position, std::uint64_t& offset) const {
  std::size_t table = kFanoutEnd + std::size_t{count_} * 24;
  std::uint32_t small = Be32(index_, table + 4 * std::size_t{position});
  if ((small & 0x80000000u) == 0) {
    offset = small;
    return true;
  }
  std::size_t large = table + 4 * std::size_t{count_} + 8 * std::size_t{small & 0x7fffffffu};
  if (large + 8 > index_.size() - 40) return false;
  offset = std::uint64_t{Be32(index_, large)} << 32 | Be32(index_, large + 4);
  return true;
}

bool PackStore::ReadHead(std::uint64_t offset, EntryHead& head) const {
  std::uint64_t end = pack_.size() - 20;
  std::uint64_t at = offset;
  if (at < 12 || at >= end) return false;
  auto c = static_cast<unsigned char>(pack_[at++]);
  head.type = c >> 4 & 7;
  head.size = c & 0x0fu;
  for (unsigned shift = 4; (c & 0x80) != 0; shift += 7) {
    if (at >= end || shift > 57) return false;
    c = static_cast<unsigned char>(pack_[at++]);
    head.size |= std::uint64_t{c & 0x7fu} << shift;
  }
  if (head.type == 6) {
    if (at >= end) return false;
    c = static_cast<unsigned char>(pack_[at++]);
    std::uint64_t back = c & 0x7fu;
    while ((c & 0x80) != 0) {
      if (at >= end || back >> 56 != 0) return false;
      c = static_cast<unsigned char>(pack_[at++]);
      back = (back + 1) << 7 | (c & 0x7fu);
    }
    if (back == 0 || back > offset) return false;
    head.base = offset - back;
  } else if (head.type == 7) {
    if (at + 20 > end) return false;
    ObjectId base;
    std::memcpy(base.bytes.data(), pack_.data() + at, 20);
    at += 20;
    std::int64_t position = Find(base);
    if (position < 0 || !OffsetAt(static_cast<std::uint32_t>(position), head.base)) return false;
  } else if (head.type < 1 || head.type > 4) {
    return false;
  }
  head.data = at;
  return head.size <= kMaxObjectBytes;
}

Result<std::string> PackStore::InflateAt(const EntryHead& head) const {
  thread_local Inflater inflater;
  if (!inflater.ready || ::inflateReset(&inflater.stream) != Z_OK)
    return Damaged("cannot be inflated");
  z_stream& stream = inflater.stream;
  std::string_view in = pack_.substr(head.data, pack_.size() - 20 - head.data);
  // No deflated byte makes more than 1032 bytes, so a false size allocates no more than that.
  if (head.size / 1032 > in.size()) return Damaged("states a false size");
  std::string out(head.size, '\0');
  std::size_t in_pos = 0;
  std::uint64_t done = 0;
  stream.avail_in = 0;
  char none = 0;
  int rc = Z_OK;
  while (rc == Z_OK) {
    if (stream.avail_in == 0) {
      if (in_pos == in.size()) break;
      stream.next_in = reinterpret_cast<const Bytef*>(in.data() + in_pos);
      stream.avail_in = static_cast<uInt>(std::min<std::size_t>(in.size() - in_pos, INT_MAX));
      in_pos += stream.avail_in;
    }
    bool full = done == head.size;
    std::uint64_t space = full ? 1 : std::min<std::uint64_t>(head.size - done, INT_MAX);
    stream.next_out = reinterpret_cast<Bytef*>(full ? &none : out.data() + done);
    stream.avail_out = static_cast<uInt>(space);
    rc = ::inflate(&stream, Z_NO_FLUSH);
    std::uint64_t got = space - stream.avail_out;
    if (full && got != 0) return Damaged("holds an object of another size");
    done += got;
  }
  if (rc != Z_STREAM_END || done != head.size)
    return Damaged("holds an object that does not inflate");
  return out;
}

Result<GitObject> PackStore::ReadAt(std::uint64_t offset) const {
  std::vector<EntryHead> chain;
  EntryHead head;
  for (;;) {
    if (!ReadHead(offset, head)) return Damaged("holds an entry that cannot be read");
    if (head.type <= 4) break;
    chain.push_back(head);
    if (chain.size() > kMaxDeltaChain) return Damaged("holds a chain of deltas without end");
    offset = head.base;
  }
  GitObject object;
  object.type = static_cast<ObjectType>(head.type - 1);
  WRIT_ASSIGN(object.content, InflateAt(head));
  while (!chain.empty()) {
    WRIT_ASSIGN(std::string delta, InflateAt(chain.back()));
    chain.pop_back();
    WRIT_ASSIGN(object.content, ApplyGitDelta(object.content, delta, kMaxObjectBytes));
  }
  return object;
}

Result<GitObject> PackStore::Read(const ObjectId& id) const {
  std::int64_t position = Find(id);
  std::uint64_t offset = 0;
  if (position < 0)
    return Error{.kind = ErrorKind::kNotFound,
                 .code = "workspace.object_missing",
                 .message = "object " + id.Hex() + " is not in the bundle"};
  if (!OffsetAt(static_cast<std::uint32_t>(position), offset))
    return Damaged("has an index that leads nowhere");
  WRIT_ASSIGN(GitObject object, ReadAt(offset));
  if (ObjectId::OfObject(ObjectTypeName(object.type), object.content) != id)
    return Damaged("holds an object that is not the one of its id");
  return object;
}

void PackStore::SortOffsets() const {
  by_offset_.reserve(count_);
  for (std::uint32_t i = 0; i < count_; ++i) {
    std::uint64_t offset = 0;
    if (OffsetAt(i, offset)) by_offset_.emplace_back(offset, i);
  }
  std::sort(by_offset_.begin(), by_offset_.end());
}

Result<std::optional<PackStore::RawEntry>> PackStore::FindRaw(const ObjectId& id) const {
  std::int64_t position = Find(id);
  if (position < 0) return std::optional<RawEntry>();
  std::call_once(sorted_, [this] { SortOffsets(); });
  std::uint64_t offset = 0;
  EntryHead head;
  if (!OffsetAt(static_cast<std::uint32_t>(position), offset) || !ReadHead(offset, head))
    return Damaged("holds an entry that cannot be read");
  auto start_of = [this](std::uint64_t at) {
    return std::lower_bound(by_offset_.begin(), by_offset_.end(), std::pair(at, std::uint32_t{0}));
  };
  auto next = std::next(start_of(offset));
  std::uint64_t end = next == by_offset_.end() ? pack_.size() - 20 : next->first;
  if (end <= head.data) return Damaged("holds an entry that cannot be read");
  // The index has a checksum of each entry's bytes.
  std::string_view whole = pack_.substr(offset, end - offset);
  auto sum = ::crc32_z(0, reinterpret_cast<const Bytef*>(whole.data()), whole.size());
  if (sum !=
      Be32(index_, kFanoutEnd + std::size_t{count_} * 20 + 4 * static_cast<std::size_t>(position)))
    return Damaged("holds an entry that is not the one that was indexed");
  RawEntry entry{
      .type = head.type, .size = head.size, .deflated = pack_.substr(head.data, end - head.data)};
  if (head.type > 4) {
    auto base = start_of(head.base);
    if (base == by_offset_.end() || base->first != head.base)
      return Damaged("holds a delta without a base");
    entry.type = 7;
    std::memcpy(entry.base.bytes.data(), IdAt(base->second).data(), 20);
  }
  return std::optional(entry);
}

}  // namespace writ::workspace
