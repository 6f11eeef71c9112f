// MappedFile: the bytes of a file of ours, read in place. The file does not change while it is
// held.
#pragma once

#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <string_view>
#include <utility>

#include "writ/base/result.h"
#include "writ/base/unique_fd.h"

namespace writ::runner {

class MappedFile {
 public:
  static Result<MappedFile> Open(const UniqueFd& file) {
    struct stat info {};
    if (fstat(file.get(), &info) != 0)
      return SysError(errno, "session.output_lost", "what was collected could not be read");
    MappedFile out;
    out.size_ = static_cast<std::size_t>(info.st_size);
    if (out.size_ == 0) return out;
    void* at = mmap(nullptr, out.size_, PROT_READ, MAP_PRIVATE, file.get(), 0);
    if (at == MAP_FAILED)
      return SysError(errno, "session.output_lost", "what was collected could not be read");
    out.at_ = at;
    return out;
  }
  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept
      : at_(std::exchange(other.at_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  MappedFile& operator=(MappedFile&& other) noexcept {
    std::swap(at_, other.at_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~MappedFile() {
    if (at_ != nullptr) munmap(at_, size_);
  }
  std::string_view bytes() const { return {static_cast<const char*>(at_), size_}; }

 private:
  void* at_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace writ::runner
