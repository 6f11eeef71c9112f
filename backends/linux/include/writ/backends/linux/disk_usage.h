// DiskMeter: what a job takes of the disks it may write to, in blocks and inodes - not in file
// sizes, so a sparse file counts for what it holds.
//
// Counts the trees beneath the given handles and the files without a name that the job's processes
// hold open or mapped. Never follows a link, never enters another file system, reads no content,
// and stops as soon as a limit is passed, so that a hostile tree costs at most as many looks as the
// limit has files. Where something cannot be seen - a directory that may not be read, descriptors
// in flight in a socket, more descriptors than kMaxDescriptors - what the file systems lost since
// the start counts instead: nothing is hidden by being out of sight, and a neighbour's writes may
// then count too.
// One thread at a time.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "writ/base/unique_fd.h"

namespace writ::backends {

struct DiskUsage {
  std::uint64_t bytes = 0;
  std::uint64_t files = 0;
  bool out_of_sight = false;  // not everything could be looked at
};
struct DiskLimits {
  std::uint64_t bytes = 0;  // 0 = none
  std::uint64_t files = 0;
};

class DiskMeter {
 public:
  static constexpr std::size_t kMaxDescriptors = 20'000;  // looked at in one measurement

  // `trees`: handles of directories, opened for reading.
  explicit DiskMeter(std::vector<UniqueFd> trees);

  // One statvfs per file system: what they lost since the last Measure (or since the start).
  struct Lost {
    std::uint64_t bytes = 0;
    std::uint64_t files = 0;
  };
  Lost LostSinceLastMeasure() const;

  // Looks at everything. `members`: the job's processes. Ends early where `limits` are passed.
  DiskUsage Measure(const std::vector<pid_t>& members, const DiskLimits& limits);

 private:
  struct Free {
    std::uint64_t bytes = 0;
    std::uint64_t files = 0;
  };
  using Frees = std::map<dev_t, Free>;
  Frees LookAtFree() const;

  std::vector<UniqueFd> trees_;
  Frees at_start_;
  Frees at_last_;
};

}  // namespace writ::backends
