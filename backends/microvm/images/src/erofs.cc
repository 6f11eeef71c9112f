#include "writ/backends/microvm/erofs.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstring>
#include <utility>

#include "writ/base/child.h"
#include "writ/base/file.h"

namespace writ::backends::microvm {
namespace {

constexpr std::chrono::minutes kBound{10};
constexpr std::uint64_t kMaxSaid = 64 * 1024;
constexpr const char* kPrograms[] = {"/usr/bin/mkfs.erofs", "/usr/sbin/mkfs.erofs",
                                     "/sbin/mkfs.erofs", "/bin/mkfs.erofs"};

std::string Program() {
  for (const char* path : kPrograms)
    if (::access(path, X_OK) == 0) return path;
  return {};
}

}  // namespace

Status MakeErofs(const std::string& directory, const std::string& file, ErofsOwner owner,
                 ErofsTimes times) {
  SpawnOptions spawn;
  spawn.path = Program();
  if (spawn.path.empty())
    return Error{ErrorKind::kNotFound, "microvm.mkfs", "mkfs.erofs is not here",
                 "apt-get install erofs-utils"};
  WRIT_ASSIGN(Pipe said, MakePipe());
  spawn.argv = {"mkfs.erofs",
                "--quiet",
                "-x-1",  // no extended attributes
                "-U00000000-0000-0000-0000-000000000000",
                "--force-uid=" + std::to_string(owner.uid),
                "--force-gid=" + std::to_string(owner.gid)};
  if (times == ErofsTimes::kNone)
    spawn.argv.push_back("-T0");
  else
    spawn.argv.push_back("-Eforce-inode-extended");
  spawn.argv.push_back(file);
  spawn.argv.push_back(directory);
  spawn.env = {"PATH=/usr/bin:/bin", "LANG=C"};
  spawn.fds = {{said.write_end.get(), 2}};
  WRIT_ASSIGN(Child child, Child::Spawn(spawn));
  said.write_end.reset();
  auto text = ReadAll(said.read_end.get(), kMaxSaid);
  WRIT_ASSIGN(auto status, child.Wait(kBound));
  if (status && status->ShellCode() == 0) return {};
  std::string reason = text ? *text : std::string();
  while (!reason.empty() && reason.back() == '\n') reason.pop_back();
  return Error{ErrorKind::kUnavailable, "microvm.mkfs_failed",
               "mkfs.erofs failed: " + reason.substr(reason.rfind('\n') + 1)};
}

// Documentation/filesystems/erofs.rst, struct erofs_super_block.
Status CheckErofs(const std::string& file) {
  constexpr off_t kSuperblock = 1024;
  constexpr std::uint32_t kMagic = 0xE0F5E1E2;
  constexpr std::size_t kBlockBits = 12;
  constexpr std::size_t kBlocks = 36;
  constexpr unsigned kMaxBlockBits = 16;
  auto damaged = [](const char* what) {
    return Error{ErrorKind::kIntegrity, "microvm.erofs",
                 std::string("the root file system of the guest image is damaged: ") + what,
                 "`writ image verify` looks at all of it; build the image again"};
  };
  UniqueFd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  std::array<unsigned char, 128> block{};
  struct stat st {};
  if (!fd || ::fstat(fd.get(), &st) != 0 ||
      ::pread(fd.get(), block.data(), block.size(), kSuperblock) !=
          static_cast<ssize_t>(block.size()))
    return damaged("it has no beginning");
  std::uint32_t magic = 0;
  std::uint32_t blocks = 0;
  std::memcpy(&magic, block.data(), sizeof magic);
  std::memcpy(&blocks, block.data() + kBlocks, sizeof blocks);
  if (magic != kMagic || block[kBlockBits] > kMaxBlockBits) return damaged("it is no erofs");
  if (static_cast<std::uint64_t>(st.st_size) < std::uint64_t{blocks} << block[kBlockBits])
    return damaged("it is cut off");
  return {};
}

}  // namespace writ::backends::microvm
