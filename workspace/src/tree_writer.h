// Writes a listing into an empty directory: several threads, beneath handles, never through a link,
// with the job's owner from the start (the threads take its file system ids).
#pragma once

#include <atomic>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "input_state.h"

namespace writ::workspace {

struct TreeWriteOptions {
  int target = -1;
  std::optional<JobOwner> owner{};
  unsigned threads = 2;
  std::uint64_t max_tree_bytes = 0;
  std::uint64_t max_file_bytes = 0;
  // Files get this modification time (seconds): before the job's index, so that the job's git need
  // not look into every file again.
  std::int64_t mtime = 0;
  // The content of one file. Called from all threads at once.
  std::function<Result<std::string>(const InputFile&)> content{};
  std::function<void(std::uint64_t bytes)> wrote{};  // as MaterializeOptions::wrote
};

// Fills in each file's stamp. `files` is sorted by path. Returns the bytes written.
Result<std::uint64_t> WriteTree(const TreeWriteOptions& options, std::vector<InputFile>& files);

// The calling thread's file system ids are another's while this lives. kDenied where the kernel
// does not allow it.
class FileSystemIds {
 public:
  FileSystemIds() = default;
  ~FileSystemIds();
  FileSystemIds(const FileSystemIds&) = delete;
  FileSystemIds& operator=(const FileSystemIds&) = delete;
  Status Take(const JobOwner& owner);

 private:
  std::optional<JobOwner> before_;
};

}  // namespace writ::workspace
