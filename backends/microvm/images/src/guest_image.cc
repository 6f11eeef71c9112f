#include "writ/backends/microvm/guest_image.h"

#include <elf.h>
#include <fcntl.h>
#include <glob.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <sstream>
#include <utility>
#include <vector>

#include "writ/backends/microvm/build_stage.h"
#include "writ/backends/microvm/cpio.h"
#include "writ/backends/microvm/erofs.h"
#include "writ/backends/microvm/guest_layout.h"
#include "writ/backends/microvm/kernel_image.h"
#include "writ/backends/microvm/kernel_modules.h"
#include "writ/backends/microvm/messages.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"
#include "writ/protocol/file_digest.h"

namespace writ::backends::microvm {
namespace {

constexpr std::uint64_t kProgramLimit = 256u << 20;
constexpr std::uint64_t kTextLimit = 16u << 20;
constexpr char kManifestName[] = "guest.json";
constexpr std::size_t kElfHead = 20;  // up to e_machine
constexpr char kKernelPattern[] = "/boot/vmlinuz-*-cloud-amd64";
constexpr unsigned kConsoleMajor = 5;
constexpr unsigned kConsoleMinor = 1;

Result<std::string> NewestKernel() {
  glob_t found{};
  std::string newest;
  if (::glob(kKernelPattern, 0, nullptr, &found) == 0) {
    char** const last = found.gl_pathv + found.gl_pathc;
    newest = *std::max_element(found.gl_pathv, last,
                               [](const char* a, const char* b) { return ::strverscmp(a, b) < 0; });
  }
  ::globfree(&found);
  if (newest.empty())
    return Error{ErrorKind::kNotFound, "microvm.no_kernel", "there is no guest kernel here",
                 "apt-get install linux-image-cloud-amd64, or name one with --kernel"};
  return newest;
}

// An ELF kernel does not say which modules are its own.
Result<std::string> ModuleDirectory(const GuestBuild& build, const KernelImage& kernel) {
  if (!build.modules.empty()) return build.modules;
  if (kernel.release.empty())
    return Error{ErrorKind::kInvalid, "microvm.kernel_release",
                 "this kernel does not say which modules are its own", "name them with --modules"};
  return "/lib/modules/" + kernel.release;
}

std::string EncodeRootJob(const RootJobConfig& job) {
  RootJob out{job.uid, job.gid, job.work_dir.empty() ? "/" : job.work_dir, {}};
  for (const auto& [name, value] : job.env) out.environment.push_back(name + "=" + value);
  return Encode(out);
}

Result<std::string> MakeInitramfs(const GuestBuild& build, const std::string& modules) {
  WRIT_ASSIGN(std::string agent, ReadFile(build.agent, kProgramLimit));
  WRIT_ASSIGN(std::string launcher, ReadFile(build.launcher, kProgramLimit));
  auto dep = ReadFile(modules + "/modules.dep", kTextLimit);
  auto builtin = ReadFile(modules + "/modules.builtin", kTextLimit);
  if (!dep || !builtin)
    return Error{ErrorKind::kNotFound, "microvm.no_modules",
                 "the kernel's modules are not in " + modules,
                 "install the package that the kernel is from, or name them with --modules"};
  WRIT_ASSIGN(std::vector<std::string> paths, ModulesFor(*dep, *builtin));
  Cpio cpio;
  for (const char* dir :
       {"dev", "proc", "sys", "run", "image", "layer", "newroot", "writ", "writ/modules"})
    cpio.Directory(dir, 0755);
  cpio.CharacterDevice("dev/console", 0600, kConsoleMajor, kConsoleMinor);
  cpio.File("init", 0755, agent);
  cpio.File(kLauncherFile + 1, 0755, launcher);
  std::string list;
  for (const std::string& path : paths) {
    const std::string name = ModuleFileName(path);
    if (!name.ends_with(".ko"))
      return Error{ErrorKind::kUnsupported, "microvm.packed_modules",
                   "the kernel's modules are compressed: " + name,
                   "unpack them, or take a kernel whose modules are plain"};
    WRIT_ASSIGN(std::string bytes, ReadFile(modules + "/" + path, kProgramLimit));
    cpio.File(std::string(kModuleDir + 1) + name, 0644, bytes);
    list += name + "\n";
  }
  cpio.File(kModuleList + 1, 0644, list);
  if (build.root_job) cpio.File(kRootJobFile + 1, 0644, EncodeRootJob(*build.root_job));
  return cpio.Take();
}

// Whose processor the programs of `root` are for: as told by the first that is a file. One without
// any says nothing.
Status CheckArchitecture(const std::string& root) {
  WRIT_ASSIGN(UniqueFd dir, OpenDirectory(root));
  for (const char* name : {"usr/bin/dash", "usr/bin/bash", "usr/bin/busybox", "bin/busybox",
                           "usr/bin/env", "bin/sh", "usr/bin/sh"}) {
    auto file = OpenBeneath(dir.get(), name, O_RDONLY | O_NONBLOCK);
    unsigned char head[kElfHead] = {};
    if (!file || ::pread(file->get(), head, sizeof head, 0) != static_cast<ssize_t>(sizeof head) ||
        ::memcmp(head, ELFMAG, SELFMAG) != 0)
      continue;
    if (head[EI_CLASS] == ELFCLASS64 && head[kElfHead - 2] == EM_X86_64 && head[kElfHead - 1] == 0)
      return {};
    return Error{ErrorKind::kUnsupported, "microvm.architecture",
                 "the root is of another processor: " + std::string(name) +
                     " is no program of an x86-64 machine",
                 "take a root that was made for amd64"};
  }
  return {};
}

}  // namespace

image::ImageStore GuestStore(const std::string& dir) {
  return image::ImageStore(dir + "/guest-images");
}

Result<GuestManifest> ReadGuestManifest(const std::string& root) {
  WRIT_ASSIGN(std::string bytes, ReadFile(root + "/" + kManifestName, kTextLimit));
  return ParseGuestManifest(bytes);
}

Result<image::ImageRecord> BuildGuestImage(const image::ImageStore& store,
                                           const GuestBuild& build) {
  struct stat st {};
  if (::stat((build.root + "/usr").c_str(), &st) != 0 || !S_ISDIR(st.st_mode))
    return Error{ErrorKind::kInvalid, "microvm.no_usr",
                 "there is no usr in the root, where jobs have their programs",
                 "name the directory that is to be / of the guest"};
  WRIT_TRY(CheckArchitecture(build.root));
  std::string kernel_path = build.kernel;
  if (kernel_path.empty()) {
    WRIT_ASSIGN(kernel_path, NewestKernel());
  }
  WRIT_ASSIGN(std::string packed, ReadFile(kernel_path, kProgramLimit));
  WRIT_ASSIGN(KernelImage kernel, ReadKernel(packed));
  WRIT_ASSIGN(std::string modules, ModuleDirectory(build, kernel));
  WRIT_ASSIGN(std::string initramfs, MakeInitramfs(build, modules));
  WRIT_ASSIGN(BuildStage stage, BuildStage::Make());
  WRIT_ASSIGN(UniqueFd dir, OpenDirectory(stage.path()));
  WRIT_TRY(
      MakeErofs(build.root, stage.path() + "/" + kRootName, ErofsOwner{0, 0}, ErofsTimes::kNone));
  GuestManifest manifest;
  manifest.kernel = protocol::Sha256(kernel.elf);
  manifest.initramfs = protocol::Sha256(initramfs);
  WRIT_ASSIGN(manifest.root, protocol::DigestOfFile(stage.path() + "/" + kRootName));
  manifest.kernel_release = kernel.release;
  manifest.agent = build.version;
  manifest.config = build.config;
  manifest.agents = build.agents;
  manifest.for_steps = build.root_job.has_value();
  for (const auto& [name, bytes] : build.provenance) {
    if (name == kProvenanceName) manifest.provenance = protocol::Sha256(bytes);
    WRIT_TRY(WriteFileAtomic(dir.get(), name, bytes, 0644));
  }
  WRIT_TRY(WriteFileAtomic(dir.get(), kKernelName, kernel.elf, 0644));
  WRIT_TRY(WriteFileAtomic(dir.get(), kInitramfsName, initramfs, 0644));
  WRIT_TRY(
      WriteFileAtomic(dir.get(), kManifestName, json::WritePretty(manifest.ToJson()) + "\n", 0644));
  if (::chmod((stage.path() + "/" + kRootName).c_str(), 0644) != 0)
    return SysError(errno, "microvm.stage", "cannot finish the image");
  image::ImportOptions options;
  options.name = build.name;
  return store.Import(stage.path(), options);
}

}  // namespace writ::backends::microvm
