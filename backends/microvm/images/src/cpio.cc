#include "writ/backends/microvm/cpio.h"

#include <sys/stat.h>

#include <array>
#include <cstdio>
#include <utility>

namespace writ::backends::microvm {
namespace {

constexpr std::size_t kAlign = 4;
constexpr std::size_t kArchiveAlign = 512;  // so that another archive may follow

void Pad(std::string& out, std::size_t align) {
  out.append((align - out.size() % align) % align, '\0');
}

}  // namespace

void Cpio::Entry(std::string_view path, std::uint32_t mode, std::string_view bytes, unsigned major,
                 unsigned minor) {
  const bool directory = S_ISDIR(mode);
  const std::array<std::uint32_t, 13> fields = {++inode_,
                                                mode,
                                                0,  // uid
                                                0,  // gid
                                                directory ? 2u : 1u,
                                                0,  // time
                                                static_cast<std::uint32_t>(bytes.size()),
                                                0,  // device of the archive's origin
                                                0,
                                                major,
                                                minor,
                                                static_cast<std::uint32_t>(path.size() + 1),
                                                0};  // checksum: none in newc
  out_ += "070701";
  for (std::uint32_t field : fields) {
    std::array<char, 9> hex{};
    std::snprintf(hex.data(), hex.size(), "%08X", field);
    out_ += hex.data();
  }
  out_ += path;
  out_ += '\0';
  Pad(out_, kAlign);
  out_ += bytes;
  Pad(out_, kAlign);
}

void Cpio::Directory(std::string_view path, mode_t mode) {
  Entry(path, S_IFDIR | mode, {}, 0, 0);
}

void Cpio::File(std::string_view path, mode_t mode, std::string_view bytes) {
  Entry(path, S_IFREG | mode, bytes, 0, 0);
}

void Cpio::CharacterDevice(std::string_view path, mode_t mode, unsigned major, unsigned minor) {
  Entry(path, S_IFCHR | mode, {}, major, minor);
}

std::string Cpio::Take() {
  Entry("TRAILER!!!", 0, {}, 0, 0);
  Pad(out_, kArchiveAlign);
  inode_ = 0;
  return std::exchange(out_, {});
}

}  // namespace writ::backends::microvm
