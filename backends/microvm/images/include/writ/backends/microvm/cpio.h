// Cpio: an archive in the kernel's "newc" format (Documentation/driver-api/early-userspace). The
// same entries in the same order give the same bytes: no times, no owners, no inode of any disk.
// Pure.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace writ::backends::microvm {

class Cpio {
 public:
  // Paths without a leading slash; a directory comes before what is in it.
  void Directory(std::string_view path, mode_t mode);
  void File(std::string_view path, mode_t mode, std::string_view bytes);
  void CharacterDevice(std::string_view path, mode_t mode, unsigned major, unsigned minor);
  // The archive, ended. Another one may follow it: the kernel unpacks them one after the other.
  std::string Take();

 private:
  void Entry(std::string_view path, std::uint32_t mode, std::string_view bytes, unsigned major,
             unsigned minor);
  std::string out_;
  std::uint32_t inode_ = 0;
};

}  // namespace writ::backends::microvm
