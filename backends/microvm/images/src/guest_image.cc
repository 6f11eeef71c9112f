#include "writ/backends/microvm/guest_image.h"

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

#include "writ/backends/microvm/cpio.h"
#include "writ/backends/microvm/erofs.h"
#include "writ/backends/microvm/guest_layout.h"
#include "writ/backends/microvm/kernel_image.h"
#include "writ/backends/microvm/kernel_modules.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"
#include "writ/protocol/reader.h"

namespace writ::backends::microvm {
namespace {

constexpr std::uint64_t kProgramLimit = 256u << 20;
constexpr std::uint64_t kTextLimit = 16u << 20;
constexpr char kManifestName[] = "guest.json";
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
  return cpio.Take();
}

// A directory for what is being built, gone with it.
class Stage {
 public:
  static Result<Stage> Make() {
    std::string pattern = "/var/tmp/writ-guest-XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr)
      return SysError(errno, "microvm.stage", "cannot make a directory in /var/tmp");
    return Stage(pattern);
  }
  Stage(Stage&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  Stage& operator=(Stage&&) = delete;
  ~Stage() {
    if (path_.empty()) return;
    if (auto parent = OpenDirectory("/var/tmp"))
      (void)RemoveTreeBeneath(parent->get(), path_.substr(path_.rfind('/') + 1)).has_value();
  }
  const std::string& path() const { return path_; }

 private:
  explicit Stage(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

Result<protocol::Digest> DigestOf(const std::string& path) {
  UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return SysError(errno, "microvm.digest", "cannot open " + path);
  protocol::Sha256Hasher hasher;
  std::string buffer(1u << 20, '\0');
  for (;;) {
    const ssize_t count = ::read(file.get(), buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return SysError(errno, "microvm.digest", "cannot read " + path);
    if (count == 0) return hasher.Finish();
    hasher.Update(std::string_view(buffer).substr(0, static_cast<std::size_t>(count)));
  }
}

}  // namespace

json::Value GuestManifest::ToJson() const {
  return json::Object{{"kernel", kernel},
                      {"initramfs", initramfs},
                      {"root", root},
                      {"kernelRelease", kernel_release},
                      {"agent", agent}};
}

Result<GuestManifest> ParseGuestManifest(std::string_view bytes) {
  WRIT_ASSIGN(json::Value value, json::Parse(bytes, {.max_depth = 2, .max_bytes = kTextLimit}));
  json::Issues issues;
  json::ObjectReader reader(issues, value);
  GuestManifest out;
  for (auto [name, digest] :
       {std::pair{"kernel", &out.kernel}, {"initramfs", &out.initramfs}, {"root", &out.root}}) {
    auto parsed = protocol::Digest::Parse(reader.String(name));
    if (!parsed) issues.Add("object.pattern", std::string("/") + name, "must be a digest");
    if (parsed) *digest = *parsed;
  }
  out.kernel_release = reader.String("kernelRelease");
  out.agent = reader.String("agent");
  reader.RefuseUnknown();
  WRIT_TRY(issues.ToStatus(kManifestName));
  return out;
}

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
  std::string kernel_path = build.kernel;
  if (kernel_path.empty()) {
    WRIT_ASSIGN(kernel_path, NewestKernel());
  }
  WRIT_ASSIGN(std::string packed, ReadFile(kernel_path, kProgramLimit));
  WRIT_ASSIGN(KernelImage kernel, ReadKernel(packed));
  WRIT_ASSIGN(std::string modules, ModuleDirectory(build, kernel));
  WRIT_ASSIGN(std::string initramfs, MakeInitramfs(build, modules));
  WRIT_ASSIGN(Stage stage, Stage::Make());
  WRIT_ASSIGN(UniqueFd dir, OpenDirectory(stage.path()));
  WRIT_TRY(
      MakeErofs(build.root, stage.path() + "/" + kRootName, ErofsOwner{0, 0}, ErofsTimes::kNone));
  GuestManifest manifest;
  manifest.kernel = protocol::Sha256(kernel.elf);
  manifest.initramfs = protocol::Sha256(initramfs);
  WRIT_ASSIGN(manifest.root, DigestOf(stage.path() + "/" + kRootName));
  manifest.kernel_release = kernel.release;
  manifest.agent = build.version;
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
