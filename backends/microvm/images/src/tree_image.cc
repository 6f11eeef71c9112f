// Two passes: the first looks at everything and gives it its place, the second writes inodes (with
// the ends of small files behind them) and blocks, both from front to back.
#include "writ/backends/microvm/tree_image.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

#include "writ/base/folder.h"
#include "writ/base/paths.h"

namespace writ::backends::microvm {
namespace {

constexpr std::uint64_t kBlock = 4096;
constexpr unsigned kBlockBits = 12;
constexpr std::uint64_t kSuperblockAt = 1024;
constexpr std::uint64_t kSuperblockBytes = 128;
constexpr std::uint32_t kMagic = 0xE0F5E1E2;
constexpr std::uint64_t kSlot = 32;  // an inode's number counts these
constexpr std::uint64_t kInodeBytes = 64;
constexpr std::uint64_t kEntryBytes = 12;  // of a directory, without its name
constexpr std::uint16_t kExtended = 1;
constexpr std::uint16_t kPlain = 0 << 1;   // its content is in blocks
constexpr std::uint16_t kInline = 2 << 1;  // the end of it is behind its inode
constexpr std::size_t kBufferBytes = 1u << 20;
constexpr std::uint64_t kMaxEntries = 8'000'000;

template <typename Number>
void Put(std::string& out, Number number) {
  for (std::size_t i = 0; i < sizeof number; ++i)
    out += static_cast<char>(static_cast<std::uint64_t>(number) >> (8 * i) & 0xff);
}

struct Node {
  std::string name;
  std::string target;  // of a link
  mode_t mode = 0;
  std::uint64_t size = 0;
  std::int64_t mtime_s = 0;
  std::uint32_t mtime_ns = 0;
  std::uint32_t parent = 0;
  std::uint32_t first = 0;  // of a directory: where its own begin, sorted by name
  std::uint32_t count = 0;
  std::uint32_t folders = 0;
  std::uint64_t at = 0;     // of its inode
  std::uint64_t block = 0;  // its first
  std::uint64_t tail() const { return size % kBlock; }
  bool inlined() const { return tail() != 0 && tail() <= kBlock - kInodeBytes; }
  std::uint64_t blocks() const { return inlined() ? size / kBlock : (size + kBlock - 1) / kBlock; }
};

// Bytes one after the other from a place in the file on.
class Stretch {
 public:
  Stretch(int out, std::uint64_t at) : out_(out), at_(at) {}
  Status Add(std::string_view bytes) {
    held_ += bytes;
    return held_.size() < kBufferBytes ? Status() : Flush();
  }
  Status FillTo(std::uint64_t at) {
    const std::uint64_t here = at_ + held_.size();
    if (at > here) held_.append(at - here, '\0');  // less than a block
    return {};
  }
  Status Flush() {
    std::string_view left = held_;
    while (!left.empty()) {
      const ssize_t count = ::pwrite(out_, left.data(), left.size(), static_cast<off_t>(at_));
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) return SysError(errno, "microvm.image_write", "cannot write an image");
      left.remove_prefix(static_cast<std::size_t>(count));
      at_ += static_cast<std::uint64_t>(count);
    }
    held_.clear();
    return {};
  }

 private:
  int out_;
  std::uint64_t at_;
  std::string held_;
};

class TreeImage {
 public:
  TreeImage(const std::vector<ImagePart>& parts, ErofsOwner owner, int out)
      : parts_(parts), owner_(owner), out_(out), inodes_(out, kSuperblockAt), blocks_(out, 0) {}

  Result<ImageCounts> Run() {
    WRIT_TRY(LookAtAll());
    WRIT_TRY(Place());
    WRIT_TRY(WriteAllOfIt());
    return ImageCounts{nodes_.size() - 1, bytes_};
  }

 private:
  static Error Failed(const std::string& what) {
    return SysError(errno, "microvm.image_read", "cannot " + what + " a tree for an image");
  }

  // What of a path below its part leads to it.
  std::string PathOf(std::size_t index) const {
    std::string path;
    for (; nodes_[index].parent != 0; index = nodes_[index].parent)
      path = path.empty() ? nodes_[index].name : nodes_[index].name + "/" + path;
    return path;
  }
  const ImagePart& PartOf(std::size_t index) const {
    while (nodes_[index].parent != 0) index = nodes_[index].parent;
    return *std::find_if(parts_.begin(), parts_.end(),
                         [&](const ImagePart& part) { return part.name == nodes_[index].name; });
  }
  Result<UniqueFd> OpenFolder(std::size_t index) const {
    WRIT_ASSIGN(UniqueFd part, OpenDirectory(PartOf(index).path));
    const std::string path = PathOf(index);
    if (path.empty()) return part;
    return OpenBeneath(part.get(), path, O_RDONLY | O_DIRECTORY);
  }

  Status Take(std::string name, std::uint32_t parent, const struct stat& st, int folder) {
    Node node;
    node.name = std::move(name);
    node.parent = parent;
    node.mode = st.st_mode;
    node.mtime_s = st.st_mtim.tv_sec;
    node.mtime_ns = static_cast<std::uint32_t>(st.st_mtim.tv_nsec);
    if (S_ISREG(st.st_mode)) node.size = static_cast<std::uint64_t>(st.st_size);
    if (S_ISLNK(st.st_mode)) {
      std::array<char, PATH_MAX> target{};
      const ssize_t size = ::readlinkat(folder, node.name.c_str(), target.data(), target.size());
      if (size <= 0) return Failed("read a link of");
      node.target.assign(target.data(), static_cast<std::size_t>(size));
      node.size = node.target.size();
    }
    // Devices would be none in a guest; the overlay's mark is.
    if (S_ISBLK(st.st_mode) || (S_ISCHR(st.st_mode) && st.st_rdev != 0)) return {};
    if (nodes_.size() >= kMaxEntries)
      return Error{ErrorKind::kInvalid, "microvm.image_too_large",
                   "a tree has over " + std::to_string(kMaxEntries) + " files"};
    nodes_.push_back(std::move(node));
    ++nodes_[parent].count;
    if (S_ISDIR(st.st_mode)) ++nodes_[parent].folders;
    return {};
  }

  Status LookAtAll() {
    nodes_.emplace_back();
    nodes_[0].mode = S_IFDIR | 0755;
    nodes_[0].first = 1;
    std::vector<ImagePart> sorted = parts_;
    std::sort(sorted.begin(), sorted.end(),
              [](const ImagePart& a, const ImagePart& b) { return a.name < b.name; });
    for (const ImagePart& part : sorted) {
      struct stat st {};
      if (::lstat(part.path.c_str(), &st) != 0) return Failed("find");
      if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
        return Error{ErrorKind::kInvalid, "microvm.image_part",
                     part.path + " is neither a directory nor a file"};
      WRIT_TRY(Take(part.name, 0, st, -1));
    }
    for (std::size_t index = 1; index < nodes_.size(); ++index) {
      if (!S_ISDIR(nodes_[index].mode)) continue;
      WRIT_ASSIGN(UniqueFd folder, OpenFolder(index));
      WRIT_ASSIGN(std::vector<std::string> names, NamesIn(folder.get(), "microvm.image_read"));
      nodes_[index].first = static_cast<std::uint32_t>(nodes_.size());
      for (std::string& name : names) {
        struct stat st {};
        if (::fstatat(folder.get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0)
          return Failed("look at a file of");
        WRIT_TRY(Take(std::move(name), static_cast<std::uint32_t>(index), st, folder.get()));
      }
    }
    return {};
  }

  // Its names in the order of their bytes, "." and ".." among them; each block can be read alone.
  struct Entry {
    std::string_view name;
    std::uint32_t node;
  };
  std::vector<Entry> EntriesOf(std::size_t index) const {
    const Node& node = nodes_[index];
    std::vector<Entry> entries = {{".", static_cast<std::uint32_t>(index)}, {"..", node.parent}};
    for (std::uint32_t i = 0; i < node.count; ++i)
      entries.push_back({nodes_[node.first + i].name, node.first + i});
    std::sort(entries.begin(), entries.end(),
              [](const Entry& a, const Entry& b) { return a.name < b.name; });
    return entries;
  }
  // How many of them, from `from` on, are in one block.
  static std::size_t BlockOf(const std::vector<Entry>& entries, std::size_t from,
                             std::uint64_t& bytes) {
    bytes = 0;
    std::size_t to = from;
    for (; to < entries.size(); ++to) {
      const std::uint64_t more = kEntryBytes + entries[to].name.size();
      if (bytes + more > kBlock) break;
      bytes += more;
    }
    return to;
  }

  Status Place() {
    std::uint64_t at = kSuperblockAt + kSuperblockBytes;
    for (std::size_t index = 0; index < nodes_.size(); ++index) {
      Node& node = nodes_[index];
      if (S_ISDIR(node.mode)) {
        const std::vector<Entry> entries = EntriesOf(index);
        std::uint64_t bytes = 0;
        for (std::size_t from = 0; from < entries.size();) {
          from = BlockOf(entries, from, bytes);
          node.size += from < entries.size() ? kBlock : bytes;
        }
      }
      at = (at + kSlot - 1) / kSlot * kSlot;
      const std::uint64_t whole = kInodeBytes + (node.inlined() ? node.tail() : 0);
      if (at % kBlock + whole > kBlock) at = (at / kBlock + 1) * kBlock;
      node.at = at;
      at += whole;
    }
    std::uint64_t block = (at + kBlock - 1) / kBlock;
    first_block_ = block;
    for (Node& node : nodes_) {
      node.block = block;
      block += node.blocks();
    }
    blocks_end_ = block;
    if (block > std::numeric_limits<std::uint32_t>::max())
      return Error{ErrorKind::kInvalid, "microvm.image_too_large", "a tree is over 16 TiB"};
    return {};
  }

  std::string Superblock() const {
    std::string out;
    Put(out, kMagic);
    Put<std::uint64_t>(out, 0);  // no checksum, no compatible features
    Put<std::uint8_t>(out, kBlockBits);
    Put<std::uint8_t>(out, 0);
    Put(out, static_cast<std::uint16_t>(nodes_[0].at / kSlot));
    Put<std::uint64_t>(out, nodes_.size());
    out.append(12, '\0');  // time of the build
    Put(out, static_cast<std::uint32_t>(blocks_end_));
    out.append(kSuperblockBytes - out.size(), '\0');  // inodes begin in block 0; nothing more
    return out;
  }

  std::string Inode(std::size_t index) const {
    const Node& node = nodes_[index];
    std::string out;
    Put<std::uint16_t>(out,
                       static_cast<std::uint16_t>(kExtended | (node.inlined() ? kInline : kPlain)));
    Put<std::uint16_t>(out, 0);
    Put(out, static_cast<std::uint16_t>(node.mode));
    Put<std::uint16_t>(out, 0);
    Put(out, node.size);
    // Of the mark that is a device, its number: none.
    Put(out, static_cast<std::uint32_t>(S_ISCHR(node.mode) ? 0 : node.block));
    Put(out, static_cast<std::uint32_t>(index + 1));
    Put(out, static_cast<std::uint32_t>(owner_.uid));
    Put(out, static_cast<std::uint32_t>(owner_.gid));
    Put(out, static_cast<std::uint64_t>(node.mtime_s));
    Put(out, node.mtime_ns);
    Put(out, S_ISDIR(node.mode) ? 2 + node.folders : std::uint32_t{1});
    out.append(16, '\0');
    return out;
  }

  static std::uint8_t KindOf(mode_t mode) {
    switch (mode & S_IFMT) {
      case S_IFREG:
        return 1;
      case S_IFDIR:
        return 2;
      case S_IFCHR:
        return 3;
      case S_IFIFO:
        return 5;
      case S_IFSOCK:
        return 6;
      case S_IFLNK:
        return 7;
      default:
        return 0;
    }
  }

  std::string Directory(std::size_t index) const {
    const std::vector<Entry> entries = EntriesOf(index);
    std::string out;
    for (std::size_t from = 0; from < entries.size();) {
      std::uint64_t bytes = 0;
      const std::size_t to = BlockOf(entries, from, bytes);
      std::string names;
      for (std::size_t i = from; i < to; ++i) {
        Put(out, nodes_[entries[i].node].at / kSlot);
        Put(out, static_cast<std::uint16_t>((to - from) * kEntryBytes + names.size()));
        Put(out, KindOf(nodes_[entries[i].node].mode));
        Put<std::uint8_t>(out, 0);
        names += entries[i].name;
      }
      out += names;
      if (to < entries.size()) out.append(kBlock - bytes, '\0');
      from = to;
    }
    return out;
  }

  // Its blocks, and its end behind its inode.
  Status Content(const Node& node, std::string_view bytes) {
    const std::uint64_t in_blocks = node.inlined() ? node.size - node.tail() : node.size;
    WRIT_TRY(blocks_.Add(bytes.substr(0, in_blocks)));
    WRIT_TRY(blocks_.FillTo((node.block + node.blocks()) * kBlock));
    return inodes_.Add(bytes.substr(in_blocks));
  }

  Status File(std::size_t index, int folder) {
    const Node& node = nodes_[index];
    UniqueFd file(folder < 0 ? ::open(PartOf(index).path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
                             : ::openat(folder, node.name.c_str(),
                                        O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (!file) return Failed("open a file of");
    const std::uint64_t in_blocks = node.inlined() ? node.size - node.tail() : node.size;
    std::string buffer(std::min<std::uint64_t>(node.size + 1, kBufferBytes), '\0');
    std::uint64_t at = 0;
    for (;;) {
      const ssize_t count = ::read(file.get(), buffer.data(), buffer.size());
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return Failed("read a file of");
      if (count == 0) break;
      std::string_view bytes(buffer.data(), static_cast<std::size_t>(count));
      if (bytes.size() > node.size - at) break;
      const std::uint64_t blocks = at < in_blocks ? std::min(in_blocks - at, bytes.size()) : 0;
      WRIT_TRY(blocks_.Add(bytes.substr(0, blocks)));
      WRIT_TRY(inodes_.Add(bytes.substr(blocks)));
      at += bytes.size();
      if (bytes.size() == 0) break;
    }
    struct stat st {};
    if (at != node.size || ::fstat(file.get(), &st) != 0 || !S_ISREG(st.st_mode) ||
        static_cast<std::uint64_t>(st.st_size) != node.size)
      return Error{ErrorKind::kConflict, "microvm.image_changed",
                   "a file was changed while it was packed: " + node.name};
    bytes_ += node.size;
    return blocks_.FillTo((node.block + node.blocks()) * kBlock);
  }

  Status WriteAllOfIt() {
    WRIT_TRY(inodes_.Add(Superblock()));
    blocks_ = Stretch(out_, first_block_ * kBlock);
    UniqueFd folder;
    std::uint32_t of = 0;  // whose folder it is
    for (std::size_t index = 0; index < nodes_.size(); ++index) {
      const Node& node = nodes_[index];
      WRIT_TRY(inodes_.FillTo(node.at));
      WRIT_TRY(inodes_.Add(Inode(index)));
      if (S_ISDIR(node.mode)) {
        WRIT_TRY(Content(node, Directory(index)));
      } else if (S_ISLNK(node.mode)) {
        WRIT_TRY(Content(node, node.target));
      } else if (S_ISREG(node.mode)) {
        if (node.parent != of) {
          WRIT_ASSIGN(folder, OpenFolder(node.parent));
          of = node.parent;
        }
        WRIT_TRY(File(index, node.parent == 0 ? -1 : folder.get()));
      }
    }
    WRIT_TRY(inodes_.Flush());
    WRIT_TRY(blocks_.Flush());
    if (::ftruncate(out_, static_cast<off_t>(blocks_end_ * kBlock)) != 0)
      return SysError(errno, "microvm.image_write", "cannot write an image");
    return {};
  }

  const std::vector<ImagePart>& parts_;
  const ErofsOwner owner_;
  const int out_;
  std::vector<Node> nodes_;  // a directory's own stand together
  std::uint64_t first_block_ = 0;
  std::uint64_t blocks_end_ = 0;
  std::uint64_t bytes_ = 0;
  Stretch inodes_;
  Stretch blocks_;
};

}  // namespace

Result<ImageCounts> WriteTreeImage(const std::vector<ImagePart>& parts, ErofsOwner owner, int out) {
  return TreeImage(parts, owner, out).Run();
}

}  // namespace writ::backends::microvm
