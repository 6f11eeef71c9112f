// pack_guest FOLDER OUT: OUT/kernel and OUT/initramfs for tests/guest/in_guest.sh: Debian's newest
// cloud kernel as an ELF; FOLDER's directories and files (links are followed), the modules of a
// disk in /modules with their order in /modules/list.
#include <sys/stat.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <sstream>
#include <string>
#include <vector>

#include "writ/backends/microvm/cpio.h"
#include "writ/backends/microvm/kernel_image.h"
#include "writ/backends/microvm/kernel_modules.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"

namespace writ::test {
namespace {

namespace fs = std::filesystem;
namespace microvm = backends::microvm;

constexpr std::uint64_t kFileLimit = 256u << 20;

Status AddModules(const std::string& dir, microvm::Cpio& cpio) {
  WRIT_ASSIGN(std::string dep, ReadFile(dir + "/modules.dep", kFileLimit));
  WRIT_ASSIGN(std::string builtin, ReadFile(dir + "/modules.builtin", kFileLimit));
  WRIT_ASSIGN(std::vector<std::string> paths, microvm::ModulesFor(dep, builtin));
  std::string list;
  cpio.Directory("modules", 0755);
  for (const std::string& path : paths) {
    const std::string name = microvm::ModuleFileName(path);
    WRIT_ASSIGN(std::string bytes, ReadFile(dir + "/" + path, kFileLimit));
    cpio.File("modules/" + name, 0644, bytes);
    list += name + "\n";
  }
  cpio.File("modules/list", 0644, list);
  return {};
}

Status AddTree(const std::string& folder, microvm::Cpio& cpio) {
  std::vector<std::string> paths;
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    paths.push_back(fs::relative(entry.path(), folder).string());
  std::sort(paths.begin(), paths.end());
  for (const std::string& path : paths) {
    struct stat st {};
    if (::stat((folder + "/" + path).c_str(), &st) != 0)
      return SysError(errno, "test.guest", "cannot look at " + path);
    if (S_ISDIR(st.st_mode)) {
      cpio.Directory(path, st.st_mode & 07777);
      continue;
    }
    WRIT_ASSIGN(std::string bytes, ReadFile(folder + "/" + path, kFileLimit));
    cpio.File(path, st.st_mode & 07777, bytes);
  }
  return {};
}

Status Pack(const std::string& folder, const std::string& out) {
  std::string newest;
  for (const auto& entry : fs::directory_iterator("/boot")) {
    const std::string path = entry.path().string();
    if (path.starts_with("/boot/vmlinuz-") && path.ends_with("-cloud-amd64"))
      newest = std::max(newest, path);
  }
  WRIT_ASSIGN(std::string packed, ReadFile(newest, kFileLimit));
  WRIT_ASSIGN(microvm::KernelImage kernel, microvm::ReadKernel(packed));
  microvm::Cpio cpio;
  WRIT_TRY(AddTree(folder, cpio));
  WRIT_TRY(AddModules("/lib/modules/" + kernel.release, cpio));
  cpio.CharacterDevice("dev/console", 0600, 5, 1);
  WRIT_ASSIGN(UniqueFd dir, OpenDirectory(out));
  WRIT_TRY(WriteFileAtomic(dir.get(), "kernel", kernel.elf, 0600));
  return WriteFileAtomic(dir.get(), "initramfs", cpio.Take(), 0600);
}

}  // namespace
}  // namespace writ::test

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  if (writ::Status packed = writ::test::Pack(argv[1], argv[2]); !packed) {
    std::fprintf(stderr, "%s\n", packed.error().ToString().c_str());
    return 1;
  }
  return 0;
}
