// SmallDisk: a file system of a stated size, private to this process, for tests of a full disk.
//
// It is a tmpfs in a mount namespace of the calling thread (and of the threads that it starts from
// then on): nobody else sees it, and it goes with the process whatever happens.
#pragma once

#include <cstdint>
#include <string>

namespace writ::test {

class SmallDisk {
 public:
  // `path` is an existing folder.
  SmallDisk(std::string path, std::uint64_t bytes);
  ~SmallDisk();
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;

  // "" or why there is none: only root may mount.
  const std::string& why_not() const { return why_not_; }
  // Takes all but `bytes` of the room; what a file of the test's own occupies.
  void FillBut(std::uint64_t bytes);
  void Free();  // gives it back

 private:
  std::string path_;
  std::string why_not_;
};

}  // namespace writ::test
