// TreeStream: a file or a directory with all below it as one stream of bytes, read and made beneath
// a directory handle (L13). For `writ cp`: one end runs as the job in its view, the other as the
// operator; neither trusts the other, and both bound what they take.
//
// A stream is a list of records: kind (1 byte), length (4, little-endian), payload.
//   D mode path    a directory; what is below it follows
//   F mode path    a file; its bytes follow as B records, then E
//   B bytes        at most kMaxPiece
//   E              the file is whole
//   S why path     left out: a symbolic link, a device, a FIFO, a socket ('l' or 'o')
//   Z              the end: all was said
//   X errno text   the end: it failed
// Modes are 4 bytes, of which 0777 are taken. Paths begin with the name of what is copied.
// Links are never followed and never made: whoever planted one would choose what is read or
// written by the next one. Owners, times, set-id bits and extended attributes are not carried.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "writ/base/result.h"
#include "writ/base/unique_fd.h"

namespace writ {

struct TreeLimits {
  std::uint64_t max_bytes = std::uint64_t{1} << 30;
  std::uint64_t max_entries = 100'000;  // files, directories and what is left out
};

struct TreeSummary {
  std::uint64_t files = 0;
  std::uint64_t directories = 0;
  std::uint64_t bytes = 0;
  std::vector<std::string> left_out;  // paths, at most kMaxLeftOutNames of them
  std::uint64_t left_out_count = 0;
};

inline constexpr std::size_t kMaxPiece = 64 * 1024;
inline constexpr std::size_t kMaxLeftOutNames = 1000;
inline constexpr int kMaxTreeDepth = 100;

// A path of a stream or of a copy: not empty, relative, no empty, "." or ".." component, no NUL, at
// most 4,095 bytes.
bool IsTreePath(std::string_view path);

using TreeSink = std::function<Status(std::string_view bytes)>;

// Sends what `path` beneath `root` names under the name `as` (one component), with Z or X at the
// end. The error is that of the copy, which X has told too, or of the sink.
Result<TreeSummary> SendTree(int root, const std::string& path, const std::string& as,
                             const TreeLimits& limits, const TreeSink& sink);

// What a stream says, record by record; any split into pieces gives the same calls. An error of a
// call ends the reading.
class TreeVisitor {
 public:
  virtual ~TreeVisitor() = default;
  virtual Status OnDirectory(const std::string& path, mode_t mode) = 0;
  virtual Status OnFile(const std::string& path, mode_t mode) = 0;
  virtual Status OnBytes(std::string_view bytes) = 0;
  virtual Status OnFileEnd() = 0;
};

// Reads a stream and counts it. kInvalid "copy.bad_stream" for anything that SendTree would not
// say, "copy.too_large" over the limits; the sender's own failure comes back as it was.
class TreeReader {
 public:
  // `visitor` is borrowed; may be null.
  TreeReader(const TreeLimits& limits, TreeVisitor* visitor) : limits_(limits), visitor_(visitor) {}
  Status Write(std::string_view bytes);
  bool ended() const { return ended_; }  // by Z
  const TreeSummary& summary() const { return summary_; }

 private:
  Status Record(char kind, std::string_view payload);
  Status Count();
  TreeLimits limits_;
  TreeVisitor* visitor_;
  TreeSummary summary_;
  std::string pending_;
  bool in_file_ = false;
  bool ended_ = false;
};

// Makes what a stream says beneath `root`: at `path`, or in it under the sent name where that is a
// directory already ("" is `root` itself). A file is written beside its name and takes its place
// when it is whole, so that a link planted there is replaced, not followed. Existing directories
// are kept and filled.
class TreeMaker final : public TreeVisitor {
 public:
  // `shown`: what stands before a path where an error names it ("/" where that is what root is).
  TreeMaker(int root, std::string path, std::string shown = {})
      : root_(root), path_(std::move(path)), shown_(std::move(shown)) {}
  ~TreeMaker() override;
  Status OnDirectory(const std::string& path, mode_t mode) override;
  Status OnFile(const std::string& path, mode_t mode) override;
  Status OnBytes(std::string_view bytes) override;
  Status OnFileEnd() override;

 private:
  Result<std::string> Place(const std::string& path);
  Result<UniqueFd> OpenParent(const std::string& place, std::string& name) const;
  void DropHalfFile();

  int root_;
  std::string path_;
  std::string shown_;
  bool decided_ = false;
  bool in_place_ = false;  // `path_` is a directory: names go into it
  UniqueFd parent_;        // of the file that is being written
  UniqueFd file_;
  std::string temporary_;
  std::string name_;
  mode_t mode_ = 0;
};

// The last records, for a copy that has nothing to send but how it ended.
std::string TreeEnd();
std::string TreeFailure(const Error& error);

}  // namespace writ
