#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>

#include "misbehave.h"
#include "task.h"
#include "writ/base/encoding.h"
#include "writ/base/file.h"
#include "writ/base/unique_fd.h"

namespace writ::mock {
namespace {

void Write(const std::string& path, const std::string& bytes, mode_t mode = 0644) {
  UniqueFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode));
  if (!file || !WriteAll(file.get(), bytes))
    Say(2, "cannot write " + path + ": " + std::strerror(errno) + "\n");
}

void Tell(const std::string& what, bool done) {
  Say(1, what + ": " + (done ? "done" : std::string("refused, ") + std::strerror(errno)) + "\n");
}

}  // namespace

void SymlinkEscape() {
  Tell("link to /etc/passwd", ::symlink("/etc/passwd", "escape-file") == 0);
  Tell("link to /", ::symlink("/", "escape-root") == 0);
  Tell("link upwards", ::symlink("../../../../../../etc", "escape-up") == 0);
  Tell("link to itself", ::symlink("escape-loop", "escape-loop") == 0);
  Tell("link to nothing", ::symlink("/nowhere/at/all", "escape-dangling") == 0);
  UniqueFd out(
      ::open("escape-root/var/tmp/writ-mock-escaped", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  Tell("write through a link", out.valid());
  if (out) ::unlink("/var/tmp/writ-mock-escaped");
}

void HardLinks() {
  Write("linked-a", "one file\n");
  Tell("second name", ::link("linked-a", "linked-b") == 0);
  Tell("name for a host file", ::link("/etc/passwd", "linked-host") == 0);
}

void PlantGitConfig() {
  ::mkdir(".git", 0755);
  ::mkdir(".git/hooks", 0755);
  ::mkdir(".git/info", 0755);
  const std::string run = "touch \"$HOME/planted\" ./planted-by-git";
  Write(".git/config", "[core]\n\trepositoryformatversion = 0\n\tbare = false\n\tfsmonitor = \"" +
                           std::string("touch planted-fsmonitor") +
                           "\"\n\teditor = touch planted-editor\n\tsshCommand = touch "
                           "planted-ssh\n[diff]\n\texternal = touch "
                           "planted-diff\n[filter \"evil\"]\n\tclean = touch "
                           "planted-clean\n\tsmudge = touch planted-smudge\n");
  for (const char* hook :
       {"pre-commit", "post-checkout", "post-index-change", "reference-transaction"})
    Write(std::string(".git/hooks/") + hook, "#!/bin/sh\n" + run + "\n", 0755);
  Write(".gitattributes", "* filter=evil diff=evil\n");
  Write(".git/info/attributes", "* filter=evil\n");
  Write(".gitmodules",
        "[submodule \"x\"]\n\tpath = x\n\turl = --upload-pack=touch planted-submodule\n");
  Say(1, "git configuration planted\n");
}

void NestedRepository() {
  ::mkdir("inner", 0755);
  ::mkdir("inner/.git", 0755);
  Write("inner/.git/HEAD", "ref: refs/heads/main\n");
  Write("inner/.git/config", "[core]\n\tfsmonitor = touch planted-inner\n");
  ::mkdir("inner/.git/objects", 0755);
  ::mkdir("inner/.git/refs", 0755);
  Write("inner/file.txt", "hidden from a careless diff\n");
  Tell(".git moved away", ::rename(".git", "old-git") == 0);
  Write(".git", "gitdir: inner/.git\n");
}

void SpecialFiles() {
  Tell("fifo", ::mkfifo("special-fifo", 0644) == 0);
  Tell("socket", ::mknod("special-socket", S_IFSOCK | 0644, 0) == 0);
  Tell("character device", ::mknod("special-null", S_IFCHR | 0666, makedev(1, 3)) == 0);
  Tell("block device", ::mknod("special-disk", S_IFBLK | 0666, makedev(8, 0)) == 0);
}

void HugeSparse() {
  UniqueFd file(::open("huge-sparse", O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  for (off_t size = off_t{1} << 40; size >= (off_t{1} << 30); size >>= 1) {
    if (::ftruncate(file.get(), size) != 0) continue;
    Say(1, "sparse file of " + std::to_string(size) + " bytes\n");
    return;
  }
  Tell("sparse file", false);
}

void DeepTree() {
  int levels = 0;
  char start[4096];
  if (::getcwd(start, sizeof start) == nullptr) return;
  for (; levels < 300; ++levels) {
    if (::mkdir("deep-directory-level", 0755) != 0 || ::chdir("deep-directory-level") != 0) break;
  }
  Write("leaf.txt", "at the bottom\n");
  if (::chdir(start) != 0) return;
  Say(1, "tree of " + std::to_string(levels) + " levels\n");
}

void BadNames() {
  ::mkdir("names", 0755);
  for (const std::string& name :
       {std::string("new\nline"), std::string("tab\there"), std::string("bad\xff\xfe utf8"),
        std::string("-rf"), std::string("trailing "), std::string("quote\"back\\slash"),
        std::string("Case"), std::string("case"), std::string("\xc3\xa9"), std::string("e\xcc\x81"),
        std::string(255, 'x'), std::string("\x1b[31mred")})
    Write("names/" + name, "named " + std::to_string(name.size()) + "\n");
  Say(1, "odd names written\n");
}

void ClosedDirectory() {
  ::mkdir("closed", 0755);
  Write("closed/inside.txt", "cannot be listed\n", 0);
  Tell("closed", ::chmod("closed", 0) == 0);
}

void ReadHostFiles() {
  int got = 0;
  for (const char* path :
       {"/etc/shadow", "/root/.ssh/id_rsa", "/root/.bashrc", "/root/.profile", "/var/lib/writ",
        "/proc/1/environ", "/proc/1/mem", "/dev/sda", "/dev/mem", "/home"}) {
    UniqueFd file(::open(path, O_RDONLY | O_CLOEXEC));
    if (!file) continue;
    ++got;
    Say(1, std::string("could open ") + path + "\n");
  }
  Say(1, "host files opened: " + std::to_string(got) + "\n");
}

void SecretInPieces() {
  const char* value = std::getenv("MOCK_SECRET");
  const std::string secret = value == nullptr ? "" : value;
  const std::size_t half = secret.size() / 2;
  Say(1, "first half: " + secret.substr(0, half));
  ::usleep(20000);  // so that the halves arrive in two reads
  Say(1, secret.substr(half) + "\n");
  Say(1, "base64: " + Base64Encode(secret) + "\nhex: " + HexEncode(secret) + "\n");
  Write("secret-in-a-file.txt", "token=" + secret + "\n");
}

}  // namespace writ::mock
