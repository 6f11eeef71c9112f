#include "writ/base/tree_stream.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

#include "writ/base/file.h"
#include "writ/base/paths.h"

namespace writ {
namespace {

constexpr std::size_t kHeaderBytes = 5;
constexpr std::size_t kMaxPath = 4095;
constexpr std::size_t kMaxText = 1000;
constexpr mode_t kModeBits = 0777;

void PutNumber(std::string& out, std::uint32_t value) {
  for (int i = 0; i < 4; ++i) out.push_back(static_cast<char>((value >> (8 * i)) & 0xff));
}

std::uint32_t NumberAt(std::string_view bytes) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < 4; ++i)
    value |= static_cast<std::uint32_t>(static_cast<unsigned char>(bytes[i])) << (8 * i);
  return value;
}

std::string RecordOf(char kind, std::string_view payload) {
  std::string out(1, kind);
  PutNumber(out, static_cast<std::uint32_t>(payload.size()));
  out.append(payload);
  return out;
}

std::string Named(char kind, mode_t mode, std::string_view path) {
  std::string payload;
  PutNumber(payload, mode & kModeBits);
  payload.append(path);
  return RecordOf(kind, payload);
}

Error TooLarge(const TreeLimits& limits) {
  return Error{ErrorKind::kInvalid, "copy.too_large",
               "there is more to copy than the limit of " + std::to_string(limits.max_bytes) +
                   " bytes and " + std::to_string(limits.max_entries) + " files allows",
               "copy less at a time, or let the operator raise the limit"};
}

Error BadStream() {
  return Error{ErrorKind::kInvalid, "copy.bad_stream", "the other side's copy cannot be read"};
}

Error Failed(int err, const std::string& path) {
  Error error = SysError(err, "copy.failed", "cannot copy " + path);
  if (err == ELOOP || err == EXDEV) {
    error.kind = ErrorKind::kInvalid;
    error.code = "copy.link";
    error.hint = "symbolic links are never followed here: name the place itself";
  }
  if (err == ENOTDIR) {
    error.kind = ErrorKind::kInvalid;
    error.code = "copy.not_a_directory";
    error.hint =
        "a part of that path is a file or a symbolic link; links are never followed here: "
        "name the place itself";
  }
  return error;
}

Error FailedAt(const Error& why, const std::string& path) {
  return Failed(why.sys_errno != 0 ? why.sys_errno : EIO, path);
}

class Sender {
 public:
  Sender(const TreeLimits& limits, const TreeSink& sink) : limits_(limits), sink_(sink) {}

  Status Send(UniqueFd entry, const std::string& as, int depth) {
    struct stat st {};
    if (::fstat(entry.get(), &st) != 0) return Failed(errno, as);
    if (S_ISREG(st.st_mode)) return SendFile(entry.get(), st.st_mode, as);
    if (S_ISDIR(st.st_mode)) return SendDirectory(std::move(entry), st.st_mode, as, depth);
    return Error{ErrorKind::kInvalid, "copy.not_a_file", as + " is neither a file nor a directory"};
  }
  const TreeSummary& summary() const { return summary_; }

 private:
  Status Count() {
    const std::uint64_t entries = summary_.files + summary_.directories + summary_.left_out_count;
    if (entries > limits_.max_entries) return TooLarge(limits_);
    return {};
  }

  Status SendFile(int file, mode_t mode, const std::string& as) {
    ++summary_.files;
    WRIT_TRY(Count());
    WRIT_TRY(sink_(Named('F', mode, as)));
    std::string piece(kMaxPiece, '\0');
    for (;;) {
      const ssize_t n = ::read(file, piece.data(), piece.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return Failed(errno, as);
      if (n == 0) return sink_(RecordOf('E', {}));
      summary_.bytes += static_cast<std::uint64_t>(n);
      if (summary_.bytes > limits_.max_bytes) return TooLarge(limits_);
      WRIT_TRY(
          sink_(RecordOf('B', std::string_view(piece).substr(0, static_cast<std::size_t>(n)))));
    }
  }

  Status LeaveOut(mode_t mode, const std::string& as) {
    ++summary_.left_out_count;
    if (summary_.left_out.size() < kMaxLeftOutNames) summary_.left_out.push_back(as);
    WRIT_TRY(Count());
    return sink_(RecordOf('S', std::string(1, S_ISLNK(mode) ? 'l' : 'o') + as));
  }

  Status SendDirectory(UniqueFd dir, mode_t mode, const std::string& as, int depth) {
    if (depth > kMaxTreeDepth || as.size() > kMaxPath - NAME_MAX - 1)
      return Error{ErrorKind::kInvalid, "copy.too_deep", "the tree is too deep to be copied"};
    ++summary_.directories;
    WRIT_TRY(Count());
    WRIT_TRY(sink_(Named('D', mode, as)));
    const int raw = dir.release();
    std::unique_ptr<DIR, int (*)(DIR*)> list(::fdopendir(raw), ::closedir);
    if (list == nullptr) {
      ::close(raw);
      return Failed(errno, as);
    }
    for (;;) {
      errno = 0;
      const dirent* item = ::readdir(list.get());
      if (item == nullptr && errno != 0) return Failed(errno, as);
      if (item == nullptr) return {};
      const std::string name = item->d_name;
      if (name == "." || name == "..") continue;
      const std::string path = as + "/" + name;
      struct stat st {};
      if (::fstatat(raw, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno == ENOENT) continue;  // gone meanwhile
        return Failed(errno, path);
      }
      if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) {
        WRIT_TRY(LeaveOut(st.st_mode, path));
        continue;
      }
      // Not blocking: it may have become a FIFO meanwhile.
      UniqueFd entry(
          ::openat(raw, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
      if (!entry) {
        if (errno == ENOENT) continue;
        return Failed(errno, path);
      }
      WRIT_TRY(Send(std::move(entry), path, depth + 1));
    }
  }

  TreeLimits limits_;
  const TreeSink& sink_;
  TreeSummary summary_;
};

}  // namespace

bool IsTreePath(std::string_view path) {
  if (path.empty() || path.size() > kMaxPath || path.find('\0') != std::string_view::npos)
    return false;
  for (;;) {
    const std::string_view part = path.substr(0, path.find('/'));
    if (part.empty() || part == "." || part == ".." || part.size() > NAME_MAX) return false;
    if (part.size() == path.size()) return true;
    path.remove_prefix(part.size() + 1);
  }
}

std::string TreeEnd() {
  return RecordOf('Z', {});
}

std::string TreeFailure(const Error& error) {
  std::string payload;
  PutNumber(payload, static_cast<std::uint32_t>(error.sys_errno));
  payload += error.code + "\n" + error.message + "\n" + error.hint;
  payload.resize(std::min(payload.size(), kMaxText));
  return RecordOf('X', payload);
}

Result<TreeSummary> SendTree(int root, const std::string& path, const std::string& as,
                             const TreeLimits& limits, const TreeSink& sink) {
  Sender sender(limits, sink);
  auto entry = OpenBeneath(root, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  Status sent =
      entry ? sender.Send(std::move(entry).value(), as, 0) : Status(FailedAt(entry.error(), as));
  if (!sent) {
    (void)sink(TreeFailure(sent.error())).has_value();
    return std::move(sent).error();
  }
  WRIT_TRY(sink(TreeEnd()));
  return sender.summary();
}

Status TreeReader::Count() {
  const std::uint64_t entries = summary_.files + summary_.directories + summary_.left_out_count;
  if (entries > limits_.max_entries || summary_.bytes > limits_.max_bytes) return TooLarge(limits_);
  return {};
}

Status TreeReader::Write(std::string_view bytes) {
  pending_.append(bytes);
  std::string_view rest = pending_;
  while (rest.size() >= kHeaderBytes) {
    const std::uint32_t size = NumberAt(rest.substr(1));
    if (size > kMaxPiece) return BadStream();
    if (rest.size() < kHeaderBytes + size) break;
    WRIT_TRY(Record(rest.front(), rest.substr(kHeaderBytes, size)));
    rest.remove_prefix(kHeaderBytes + size);
  }
  pending_.erase(0, pending_.size() - rest.size());
  return {};
}

Status TreeReader::Record(char kind, std::string_view payload) {
  if (ended_) return BadStream();
  switch (kind) {
    case 'D':
    case 'F': {
      if (in_file_ || payload.size() < 4) return BadStream();
      const mode_t mode = NumberAt(payload);
      const std::string path(payload.substr(4));
      if ((mode & ~kModeBits) != 0 || !IsTreePath(path)) return BadStream();
      ++(kind == 'D' ? summary_.directories : summary_.files);
      WRIT_TRY(Count());
      in_file_ = kind == 'F';
      if (visitor_ == nullptr) return {};
      return kind == 'D' ? visitor_->OnDirectory(path, mode) : visitor_->OnFile(path, mode);
    }
    case 'B':
      if (!in_file_ || payload.empty()) return BadStream();
      summary_.bytes += payload.size();
      WRIT_TRY(Count());
      return visitor_ != nullptr ? visitor_->OnBytes(payload) : Status();
    case 'E':
      if (!in_file_ || !payload.empty()) return BadStream();
      in_file_ = false;
      return visitor_ != nullptr ? visitor_->OnFileEnd() : Status();
    case 'S': {
      if (in_file_ || payload.size() < 2 || (payload[0] != 'l' && payload[0] != 'o') ||
          !IsTreePath(payload.substr(1)))
        return BadStream();
      ++summary_.left_out_count;
      if (summary_.left_out.size() < kMaxLeftOutNames)
        summary_.left_out.emplace_back(payload.substr(1));
      return Count();
    }
    case 'Z':
      if (in_file_ || !payload.empty()) return BadStream();
      ended_ = true;
      return {};
    case 'X': {
      if (payload.size() < 4 || payload.size() > kMaxText) return BadStream();
      Error error{ErrorKind::kInvalid, "copy.failed", ""};
      error.sys_errno = static_cast<int>(NumberAt(payload) & 0xfff);
      std::string_view text = payload.substr(4);
      std::string* const parts[] = {&error.code, &error.message, &error.hint};
      for (std::string* part : parts) {
        const std::string_view line = text.substr(0, text.find('\n'));
        *part = std::string(line);
        text.remove_prefix(std::min(text.size(), line.size() + 1));
      }
      return error;
    }
    default:
      return BadStream();
  }
}

TreeMaker::~TreeMaker() {
  DropHalfFile();
}

void TreeMaker::DropHalfFile() {
  if (!temporary_.empty()) ::unlinkat(parent_.get(), temporary_.c_str(), 0);
  temporary_.clear();
  file_.reset();
}

Result<std::string> TreeMaker::Place(const std::string& path) {
  if (!decided_) {
    decided_ = true;
    in_place_ = path_.empty() || OpenBeneath(root_, path_, O_RDONLY | O_DIRECTORY).has_value();
  }
  if (in_place_) return path_.empty() ? path : path_ + "/" + path;
  const std::size_t slash = path.find('/');
  const std::string place = slash == std::string::npos ? path_ : path_ + path.substr(slash);
  if (!IsTreePath(place)) return Failed(ENAMETOOLONG, shown_ + path);
  return place;
}

Result<UniqueFd> TreeMaker::OpenParent(const std::string& place, std::string& name) const {
  const std::size_t slash = place.rfind('/');
  name = slash == std::string::npos ? place : place.substr(slash + 1);
  if (slash == std::string::npos) {
    UniqueFd own(::openat(root_, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!own) return Failed(errno, shown_ + place);
    return own;
  }
  auto parent = OpenBeneath(root_, place.substr(0, slash), O_RDONLY | O_DIRECTORY);
  if (!parent) return FailedAt(parent.error(), shown_ + place);
  return parent;
}

Status TreeMaker::OnDirectory(const std::string& path, mode_t mode) {
  WRIT_ASSIGN(const std::string place, Place(path));
  std::string name;
  WRIT_ASSIGN(const UniqueFd parent, OpenParent(place, name));
  if (::mkdirat(parent.get(), name.c_str(), mode | S_IRWXU) == 0) return {};
  if (errno != EEXIST) return Failed(errno, shown_ + place);
  // Whatever stands there must be a directory itself.
  auto there = OpenBeneath(parent.get(), name, O_RDONLY | O_DIRECTORY);
  if (!there) return FailedAt(there.error(), shown_ + place);
  return {};
}

Status TreeMaker::OnFile(const std::string& path, mode_t mode) {
  DropHalfFile();
  WRIT_ASSIGN(const std::string place, Place(path));
  WRIT_ASSIGN(parent_, OpenParent(place, name_));
  std::uint64_t random = 0;
  if (::getrandom(&random, sizeof random, 0) != static_cast<ssize_t>(sizeof random))
    return Failed(EIO, place);
  const std::string temporary = ".writ-cp-" + std::to_string(random);
  file_.reset(::openat(parent_.get(), temporary.c_str(),
                       O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode));
  if (!file_) return Failed(errno, shown_ + place);
  temporary_ = temporary;
  // Until it is whole it is for its owner alone, and then for no more than the umask leaves.
  struct stat st {};
  if (::fstat(file_.get(), &st) != 0 || ::fchmod(file_.get(), 0600) != 0)
    return Failed(errno, shown_ + place);
  mode_ = st.st_mode & kModeBits;
  return {};
}

Status TreeMaker::OnBytes(std::string_view bytes) {
  Status written = WriteAll(file_.get(), bytes);
  return written ? Status() : Status(FailedAt(written.error(), name_));
}

Status TreeMaker::OnFileEnd() {
  if (::fchmod(file_.get(), mode_) != 0) return Failed(errno, name_);
  if (::renameat(parent_.get(), temporary_.c_str(), parent_.get(), name_.c_str()) != 0)
    return Failed(errno, name_);
  temporary_.clear();
  file_.reset();
  return {};
}

}  // namespace writ
