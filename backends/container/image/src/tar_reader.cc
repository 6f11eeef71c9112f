#include "tar_reader.h"

#include <archive.h>
#include <archive_entry.h>
#include <locale.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <utility>

namespace writ::backends::image {
namespace {

constexpr std::size_t kBlock = 256 * 1024;

Error Bad(archive* handle, const std::string& what) {
  const char* text = ::archive_error_string(handle);
  return Error{ErrorKind::kInvalid, "image.bad_archive",
               what + (text != nullptr ? ": " + std::string(text) : std::string()),
               "the file is damaged or no container image; make it again"};
}

// libarchive takes names from and to the thread's locale; in any but a UTF-8 one it loses some.
class Utf8Names {
 public:
  Utf8Names() : locale_(::newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr)) {
    if (locale_ != nullptr) before_ = ::uselocale(locale_);
  }
  ~Utf8Names() {
    if (locale_ == nullptr) return;
    ::uselocale(before_);
    ::freelocale(locale_);
  }
  Utf8Names(const Utf8Names&) = delete;
  Utf8Names& operator=(const Utf8Names&) = delete;

 private:
  locale_t locale_;
  locale_t before_ = nullptr;
};

struct Feed {
  const Pull* pull = nullptr;
  std::optional<Error> error;
  static ssize_t Read(archive*, void* self, const void** out) {
    auto* feed = static_cast<Feed*>(self);
    auto bytes = (*feed->pull)();
    if (!bytes) {
      feed->error = std::move(bytes).error();
      return ARCHIVE_FATAL;
    }
    *out = bytes->data();
    return static_cast<ssize_t>(bytes->size());
  }
};

struct FreeArchive {
  void operator()(archive* handle) const { ::archive_read_free(handle); }
};

std::string Text(const char* text) {
  return text != nullptr ? std::string(text) : std::string();
}

Result<TarEntry> Describe(archive* handle, archive_entry* entry) {
  TarEntry out;
  out.name = Text(::archive_entry_pathname(entry));
  if (out.name.empty()) return Bad(handle, "an entry has no readable name");
  out.mode = ::archive_entry_perm(entry);
  out.mtime = ::archive_entry_mtime_is_set(entry) != 0 ? ::archive_entry_mtime(entry) : 0;
  if (const char* target = ::archive_entry_hardlink(entry); target != nullptr) {
    out.kind = TarEntry::Kind::kHardLink;
    out.link = target;
    return out;
  }
  switch (::archive_entry_filetype(entry)) {
    case AE_IFDIR:
      out.kind = TarEntry::Kind::kDirectory;
      break;
    case AE_IFLNK:
      out.kind = TarEntry::Kind::kSymlink;
      out.link = Text(::archive_entry_symlink(entry));
      break;
    case AE_IFREG: {
      const la_int64_t size = ::archive_entry_size(entry);
      if (size < 0) return Bad(handle, "a file has a negative size");
      out.size = static_cast<std::uint64_t>(size);
      break;
    }
    default:
      out.kind = TarEntry::Kind::kSpecial;
  }
  return out;
}

Status WriteBlocks(archive* handle, const Feed& feed, std::uint64_t size, int fd) {
  for (;;) {
    const void* data = nullptr;
    std::size_t count = 0;
    la_int64_t offset = 0;
    const int result = ::archive_read_data_block(handle, &data, &count, &offset);
    if (result == ARCHIVE_EOF) break;
    if (result != ARCHIVE_OK)
      return feed.error ? *feed.error : Bad(handle, "a file cannot be read");
    if (offset < 0 || static_cast<std::uint64_t>(offset) + count > size)
      return Bad(handle, "a file has more bytes than it says");
    for (std::size_t done = 0; done < count;) {
      const ssize_t written = ::pwrite(fd, static_cast<const char*>(data) + done, count - done,
                                       offset + static_cast<la_int64_t>(done));
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0) return SysError(errno, "image.unpack", "cannot write a file of the image");
      done += static_cast<std::size_t>(written);
    }
  }
  if (::ftruncate(fd, static_cast<off_t>(size)) != 0)
    return SysError(errno, "image.unpack", "cannot write a file of the image");
  return {};
}

}  // namespace

void Decompressed::Close::operator()(archive* handle) const {
  ::archive_read_free(handle);
}

Decompressed::Decompressed(int fd)
    : fd_(fd), in_(kBlock, '\0'), out_(kBlock, '\0'), handle_(::archive_read_new()) {}
Decompressed::~Decompressed() = default;

ssize_t Decompressed::Read(archive* handle, void* self, const void** out) {
  auto* that = static_cast<Decompressed*>(self);
  for (;;) {
    const ssize_t count = ::read(that->fd_, that->in_.data(), that->in_.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) ::archive_set_error(handle, errno, "cannot read");
    if (count > 0) that->consumed_ += static_cast<std::uint64_t>(count);
    *out = that->in_.data();
    return count < 0 ? ARCHIVE_FATAL : count;
  }
}

Result<std::string_view> Decompressed::Next() {
  archive* handle = handle_.get();
  if (handle == nullptr) return SysError(ENOMEM, "image.memory", "cannot read an archive");
  if (at_end_) return std::string_view();
  if (!opened_) {
    opened_ = true;
    ::archive_read_support_filter_gzip(handle);
    ::archive_read_support_filter_zstd(handle);
    ::archive_read_support_format_raw(handle);
    ::archive_read_support_format_empty(handle);
    if (::archive_read_open(handle, this, nullptr, Read, nullptr) != ARCHIVE_OK)
      return Bad(handle, "a layer cannot be decompressed");
    archive_entry* entry = nullptr;
    const int header = ::archive_read_next_header(handle, &entry);
    if (header == ARCHIVE_EOF) {
      at_end_ = true;
      return std::string_view();
    }
    if (header != ARCHIVE_OK) return Bad(handle, "a layer cannot be decompressed");
  }
  const la_ssize_t count = ::archive_read_data(handle, out_.data(), out_.size());
  if (count < 0) return Bad(handle, "a layer cannot be decompressed");
  at_end_ = count == 0;
  return std::string_view(out_.data(), static_cast<std::size_t>(count));
}

Status ReadTar(const Pull& pull,
               const std::function<Status(const TarEntry&, const WriteContent&)>& visit) {
  const Utf8Names names;
  std::unique_ptr<archive, FreeArchive> handle(::archive_read_new());
  if (handle == nullptr) return SysError(ENOMEM, "image.memory", "cannot read an archive");
  ::archive_read_support_format_tar(handle.get());
  ::archive_read_support_format_empty(handle.get());
  Feed feed{&pull, std::nullopt};
  auto failed = [&](const std::string& what) {
    return feed.error ? *feed.error : Bad(handle.get(), what);
  };
  if (::archive_read_open(handle.get(), &feed, nullptr, Feed::Read, nullptr) != ARCHIVE_OK)
    return failed("this is no tar archive");
  for (;;) {
    archive_entry* entry = nullptr;
    const int result = ::archive_read_next_header(handle.get(), &entry);
    if (result == ARCHIVE_EOF) return {};
    // A warning means that something of the entry was lost: a name, a link.
    if (result != ARCHIVE_OK) return failed("an entry cannot be read");
    WRIT_ASSIGN(TarEntry described, Describe(handle.get(), entry));
    WRIT_TRY(visit(described,
                   [&](int fd) { return WriteBlocks(handle.get(), feed, described.size, fd); }));
  }
}

}  // namespace writ::backends::image
