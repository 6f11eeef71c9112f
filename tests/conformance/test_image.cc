#include "conformance/test_image.h"

#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <set>
#include <sstream>
#include <vector>

#include "support/places.h"
#include "writ/backends/image/image_store.h"
#include "writ/base/child.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"
#include "writ/protocol/digest.h"

namespace writ::test {
namespace fs = std::filesystem;
namespace {

constexpr const char* kTools[] = {
    "base64", "sh",       "bash",  "dash",   "cat",       "chmod", "cp",    "cut",      "date",
    "dd",     "df",       "echo",  "env",    "expr",      "false", "find",  "git",      "grep",
    "head",   "hostname", "id",    "kill",   "ln",        "ls",    "mkdir", "mkfifo",   "mktemp",
    "mv",     "nohup",    "nproc", "od",     "printf",    "ps",    "pwd",   "readlink", "rm",
    "rmdir",  "sed",      "seq",   "setsid", "sha256sum", "sleep", "sort",  "stat",     "stty",
    "sync",   "tail",     "tee",   "test",   "timeout",   "touch", "tr",    "true",     "truncate",
    "tty",    "uname",    "wc",    "whoami", "xargs",     "yes"};

std::string Libraries(const std::vector<std::string>& programs) {
  auto pipe = MakePipe();
  if (!pipe) std::abort();
  SpawnOptions spawn;
  spawn.path = "/usr/bin/ldd";
  spawn.argv = {"ldd"};
  spawn.argv.insert(spawn.argv.end(), programs.begin(), programs.end());
  spawn.env = {"PATH=/usr/bin:/bin"};
  spawn.fds = {{pipe->write_end.get(), 1}};
  auto child = Child::Spawn(spawn);
  pipe->write_end.reset();
  auto text = ReadAll(pipe->read_end.get(), 4u << 20);
  return text ? *text : std::string();
}

void Copy(const std::string& from, const std::string& to) {
  std::error_code error;
  fs::create_directories(fs::path(to).parent_path());
  fs::copy_file(fs::canonical(from, error), to, fs::copy_options::skip_existing, error);
}

// Merged as Debian's: /bin and /lib are links into /usr.
void MakeRoot(const std::string& root) {
  for (const char* name : {"bin", "sbin", "lib", "lib64"}) {
    fs::create_directories(root + "/usr/" + name);
    fs::create_symlink(std::string("usr/") + name, root + "/" + name);
  }
  fs::create_directories(root + "/etc");
  fs::create_directories(root + "/opt/of-the-image");
  fs::create_directories(root + "/var/tmp");
  std::vector<std::string> programs;
  for (const char* tool : kTools) {
    const std::string path = std::string("/usr/bin/") + tool;
    if (::access(path.c_str(), X_OK) != 0) continue;
    Copy(path, root + path);
    programs.push_back(fs::canonical(path));
  }
  for (const char* name : {"writ-mock-agent", "hostile", "glutton"})
    if (::access((writ::test::BinDir() + "/" + name).c_str(), X_OK) == 0)
      programs.push_back(writ::test::BinDir() + "/" + name);
  std::istringstream words(Libraries(programs));
  for (std::string word; words >> word;) {
    if (word.front() != '/' || word.find(".so") == std::string::npos) continue;
    Copy(word, root + (word.starts_with("/usr/") ? word : "/usr" + word));
  }
}

// Those of coreutils 9.1 ask for what gVisor of Debian 12 does not know.
void TakeBusyboxForStat(const std::string& root) {
  Copy("/usr/bin/busybox", root + "/usr/bin/busybox");
  for (const char* tool : {"ls", "stat"}) {
    fs::remove(root + "/usr/bin/" + tool);
    fs::create_symlink("busybox", root + "/usr/bin/" + tool);
  }
}

std::string MakeStore(const std::string& base) {
  const backends::image::ImageStore store(base + "/images");
  if (store.Find("host") && store.Find("gvisor")) return store.dir();
  // One root for both: finding out its libraries takes longer than all the rest.
  const std::string root = base + "/root";
  fs::remove_all(root);
  MakeRoot(root);
  for (const char* name : {"host", "gvisor"}) {
    if (name == std::string("gvisor")) TakeBusyboxForStat(root);
    if (store.Find(name)) continue;
    if (auto made = store.Import(root, {.name = name, .tag = "", .limits = {}}); !made)
      std::abort();
  }
  fs::remove_all(root);
  return store.dir();
}

// Gone with the process that made it, not with its children.
struct OwnStore {
  OwnStore() {
    std::string pattern = "/var/tmp/writ-test-images-XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) std::abort();
    base = pattern;
    ::chmod(base.c_str(), 0711);
  }
  ~OwnStore() {
    if (::getpid() != maker) return;
    if (auto parent = OpenDirectory("/var/tmp"))
      (void)RemoveTreeBeneath(parent->get(), base.substr(base.rfind('/') + 1)).has_value();
  }
  std::string base;
  pid_t maker = ::getpid();
};

}  // namespace

std::string TestImages() {
  if (const char* named = std::getenv("WRIT_TEST_IMAGES")) return named;
  static const std::string dir = [] {
    std::string tools;  // others are another image
    for (const char* tool : kTools) tools += std::string(tool) + " ";
    const std::string shared =
        writ::test::BinDir() + "/../test-images-" + protocol::Sha256(tools).ToHex().substr(0, 8);
    std::error_code ignored;
    fs::create_directories(shared, ignored);
    if (::access(shared.c_str(), W_OK) == 0) {
      auto folder = OpenDirectory(shared);
      if (!folder || ::flock(folder->get(), LOCK_EX) != 0) std::abort();
      return MakeStore(fs::canonical(shared));
    }
    static const OwnStore own;
    return MakeStore(own.base);
  }();
  return dir;
}

}  // namespace writ::test
