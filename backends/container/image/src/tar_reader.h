// Tar archives and compressed streams, read by libarchive. The only file that uses it.
//
// Formats: tar (ustar, pax, GNU) and nothing else; compression: none, gzip, zstd. Memory is bounded
// by libarchive's own limits for headers.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "writ/base/result.h"

struct archive;

namespace writ::backends::image {

// The next bytes of a stream; empty at its end. Valid until the next call.
using Pull = std::function<Result<std::string_view>()>;

// What a compressed file (or one that is not) holds. `fd` is borrowed and read from its position.
class Decompressed {
 public:
  explicit Decompressed(int fd);
  ~Decompressed();
  Result<std::string_view> Next();
  std::uint64_t consumed() const { return consumed_; }  // bytes of the file so far

 private:
  static ssize_t Read(archive* handle, void* self, const void** out);
  struct Close {
    void operator()(archive* handle) const;
  };
  int fd_;
  std::string in_;
  std::string out_;
  std::uint64_t consumed_ = 0;
  bool opened_ = false;
  bool at_end_ = false;
  std::unique_ptr<archive, Close> handle_;
};

struct TarEntry {
  enum class Kind { kDirectory, kFile, kSymlink, kHardLink, kSpecial };
  Kind kind = Kind::kFile;
  std::string name;  // as it stands in the archive
  std::string link;  // target of a symbolic or hard link
  mode_t mode = 0;
  std::int64_t mtime = 0;
  std::uint64_t size = 0;
};
// Writes the content of the entry being visited to a new empty file.
using WriteContent = std::function<Status(int fd)>;

// Visits every entry in its order. What is not a sound tar archive is kInvalid "image.bad_archive".
Status ReadTar(const Pull& pull,
               const std::function<Status(const TarEntry&, const WriteContent&)>& visit);

}  // namespace writ::backends::image
