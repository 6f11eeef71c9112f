#include "writ/backends/microvm/pages/layered_memory.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>
#include <string>
#include <utility>

#include "writ/base/file.h"

namespace writ::backends::microvm::pages {
namespace {

Error NotMemory(std::string message) {
  return Error{ErrorKind::kInvalid, "pages.memory", std::move(message)};
}

Result<std::uint64_t> SizeOfPrivateFile(int fd) {
  struct stat st {};
  if (::fstat(fd, &st) != 0)
    return SysError(errno, "pages.memory", "cannot look at a snapshot's memory file");
  if (!S_ISREG(st.st_mode)) return NotMemory("a snapshot's memory is not a regular file");
  if ((st.st_uid != 0 && st.st_uid != ::geteuid()) || (st.st_mode & 077) != 0)
    return Error{ErrorKind::kDenied, "pages.owner",
                 "a snapshot's memory file is open to others than the page server",
                 "give it to the page server's uid, with mode 0600"};
  return static_cast<std::uint64_t>(st.st_size);
}

// Calls `each` with the pages of every extent that holds data.
void EachExtent(int fd, std::uint64_t bytes,
                const std::function<void(std::uint64_t first, std::uint64_t end)>& each) {
  std::uint64_t at = 0;
  while (at < bytes) {
    const off_t data = ::lseek(fd, static_cast<off_t>(at), SEEK_DATA);
    if (data < 0 && errno == ENXIO) return;  // a hole to the end
    const off_t hole = data < 0 ? -1 : ::lseek(fd, data, SEEK_HOLE);
    // A file system that cannot tell: all of it is data.
    const std::uint64_t first = data < 0 ? at : static_cast<std::uint64_t>(data);
    const std::uint64_t end = hole < 0 ? bytes : std::min(bytes, static_cast<std::uint64_t>(hole));
    each(first / kPageBytes, (end + kPageBytes - 1) / kPageBytes);
    if (end <= at) return;
    at = end;
  }
}

}  // namespace

Result<LayeredMemory> LayeredMemory::Open(std::vector<LayerFile> layers,
                                          std::uint64_t memory_bytes) {
  if (memory_bytes == 0 || memory_bytes % kPageBytes != 0 || memory_bytes > kMaxMemoryBytes)
    return NotMemory("the size of a snapshot's memory is not one of whole pages up to 64 GiB");
  if (layers.empty() || layers.size() > 1 + kMaxOverlays)
    return NotMemory("a snapshot has no layer of memory, or more than 7");
  LayeredMemory memory;
  memory.memory_bytes_ = memory_bytes;
  memory.owner_.assign(memory_bytes / kPageBytes, kZero);
  for (LayerFile& files : layers) WRIT_TRY(memory.AddLayer(std::move(files)));
  return memory;
}

Status LayeredMemory::AddLayer(LayerFile files) {
  const bool overlay = !layers_.empty();
  if (overlay != files.dirty.valid())
    return NotMemory("a base has no bitmap of changed pages, and every layer above it has one");
  WRIT_ASSIGN(const std::uint64_t size, SizeOfPrivateFile(files.memory.get()));
  if (size != memory_bytes_)
    return NotMemory("a snapshot's memory file is not as long as its memory");
  std::string dirty;
  if (overlay) {
    WRIT_ASSIGN(const std::uint64_t dirty_size, SizeOfPrivateFile(files.dirty.get()));
    if (dirty_size != (pages() + 7) / 8)
      return NotMemory("a bitmap of changed pages is not that of its memory");
    dirty.resize(dirty_size);
    if (::pread(files.dirty.get(), dirty.data(), dirty.size(), 0) !=
        static_cast<ssize_t>(dirty.size()))
      return SysError(errno, "pages.memory", "cannot read a bitmap of changed pages");
  }
  const auto is_dirty = [&](std::uint64_t page) {
    return !overlay || ((static_cast<unsigned char>(dirty[page / 8]) >> (page % 8)) & 1) != 0;
  };
  top_leaves_.assign((leaves() + 63) / 64, 0);
  for (std::uint64_t page = 0; overlay && page < pages(); ++page) {
    if (!is_dirty(page)) continue;
    owner_[page] = kZero;
    const std::uint64_t leaf = page / kLeafPages;
    top_leaves_[leaf / 64] |= 1ull << (leaf % 64);
  }
  const auto index = static_cast<std::uint8_t>(layers_.size());
  EachExtent(files.memory.get(), memory_bytes_, [&](std::uint64_t first, std::uint64_t end) {
    for (std::uint64_t page = first; page < end; ++page)
      if (is_dirty(page)) owner_[page] = index;
  });
  void* mapping = ::mmap(nullptr, memory_bytes_, PROT_READ, MAP_SHARED, files.memory.get(), 0);
  if (mapping == MAP_FAILED)
    return SysError(errno, "pages.memory", "cannot map a snapshot's memory file");
  layers_.push_back({std::move(files.memory), static_cast<const char*>(mapping)});
  return {};
}

LayeredMemory::LayeredMemory(LayeredMemory&& other) noexcept
    : memory_bytes_(other.memory_bytes_),
      layers_(std::exchange(other.layers_, {})),
      owner_(std::move(other.owner_)),
      top_leaves_(std::move(other.top_leaves_)) {}

LayeredMemory::~LayeredMemory() {
  for (const Layer& layer : layers_) ::munmap(const_cast<char*>(layer.mapping), memory_bytes_);
}

std::uint64_t LayeredMemory::LeafSize(std::uint64_t leaf) const {
  return std::min(kLeafBytes, memory_bytes_ - leaf * kLeafBytes);
}

bool LayeredMemory::InTopLayer(std::uint64_t leaf) const {
  return ((top_leaves_[leaf / 64] >> (leaf % 64)) & 1) != 0;
}

bool LayeredMemory::IsHole(std::uint64_t leaf) const {
  const std::uint64_t first = leaf * kLeafPages;
  return IsZero(first) && RunFrom(first, kLeafPages) == LeafSize(leaf) / kPageBytes;
}

std::uint64_t LayeredMemory::RunFrom(std::uint64_t page, std::uint64_t most) const {
  const std::uint64_t end = std::min(pages(), page + most);
  std::uint64_t next = page + 1;
  while (next < end && owner_[next] == owner_[page]) ++next;
  return next - page;
}

const char* LayeredMemory::At(std::uint64_t page) const {
  return layers_[owner_[page]].mapping + page * kPageBytes;
}

Status LayeredMemory::ReadLeaf(std::uint64_t leaf, std::span<char> out) const {
  const std::uint64_t first = leaf * kLeafPages;
  const std::uint64_t count = LeafSize(leaf) / kPageBytes;
  for (std::uint64_t done = 0; done < count;) {
    const std::uint64_t page = first + done;
    const std::uint64_t run = RunFrom(page, count - done);
    char* to = out.data() + done * kPageBytes;
    done += run;
    if (IsZero(page)) {
      std::memset(to, 0, run * kPageBytes);
      continue;
    }
    std::uint64_t left = run * kPageBytes;
    std::uint64_t at = page * kPageBytes;
    while (left > 0) {
      const ssize_t n = ::pread(layers_[owner_[page]].file.get(), to, left, static_cast<off_t>(at));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) {
        Error error = SysError(n < 0 ? errno : EIO, "pages.read",
                               "a snapshot's memory file cannot be read to its end");
        error.kind = ErrorKind::kUnavailable;
        return error;
      }
      to += n;
      at += static_cast<std::uint64_t>(n);
      left -= static_cast<std::uint64_t>(n);
    }
  }
  return {};
}

}  // namespace writ::backends::microvm::pages
