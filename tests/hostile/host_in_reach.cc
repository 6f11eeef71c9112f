// host_in_reach process|namespaces PROGRAM ARGUMENTS...: runs a test program on a host whose
// devices and settings are within everybody's reach: in a mount namespace of its own, where a file
// that everybody may write stands in the place of each that the stand-in rows of table.txt go for.
// So what refuses them is a guard of the tier's, and not the mode of the file. WRIT_HOST_IN_REACH
// in the program's environment is the first word:
//   process      all that is there of them
//   namespaces   none below /proc: the kernel mounts no other /proc where this one is covered
// As an ordinary user: host_in_reach WORD as_ordinary_user PROGRAM. Exit 77: only root can do it.
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>

#include "hostile/host_paths.h"
#include "hostile/table.h"

namespace {

namespace fs = std::filesystem;

constexpr char kPlace[] = "/tmp";  // covered in that namespace while it is made

bool MakeFile(const std::string& path) {
  std::ofstream(path) << "0\n";
  return ::chmod(path.c_str(), 0666) == 0;
}

bool Bind(const std::string& from, const std::string& to) {
  return ::mount(from.c_str(), to.c_str(), nullptr, MS_BIND | MS_REC, nullptr) == 0;
}

// Of the devices of this host those that every tier gives its jobs.
bool MakeDevices(const std::string& dev) {
  bool made = true;
  for (const auto& [name, minor] :
       {std::pair{"null", 3}, {"zero", 5}, {"full", 7}, {"random", 8}, {"urandom", 9}}) {
    const std::string path = dev + "/" + name;
    made = made && ::mknod(path.c_str(), S_IFCHR | 0666, ::makedev(1, minor)) == 0 &&
           ::chmod(path.c_str(), 0666) == 0;
  }
  made = made && ::mknod((dev + "/tty").c_str(), S_IFCHR | 0666, ::makedev(5, 0)) == 0 &&
         ::chmod((dev + "/tty").c_str(), 0666) == 0;
  std::error_code none;
  for (const char* name : {"fd", "stdin", "stdout", "stderr", "ptmx"})
    fs::copy("/dev/" + std::string(name), dev + "/" + name, fs::copy_options::copy_symlinks, none);
  if (!fs::exists(dev + "/ptmx")) fs::create_symlink("pts/ptmx", dev + "/ptmx", none);
  for (const char* name : {"/pts", "/shm"}) {
    made = made && ::mkdir((dev + name).c_str(), 0755) == 0;
    if (fs::exists("/dev" + std::string(name)))
      made = made && Bind("/dev" + std::string(name), dev + name);
  }
  return made;
}

// Of a path below /dev there is one in any case; of another where the host has it.
bool PutInReach(const std::string& dev, const std::string& file, const std::string& path) {
  if (path.starts_with("/dev/")) {
    const std::string at = dev + path.substr(4);
    fs::create_directories(fs::path(at).parent_path());
    return MakeFile(at);
  }
  return ::access(path.c_str(), F_OK) != 0 || Bind(file, path);
}

bool PutAllInReach(bool proc) {
  const std::string place = kPlace;
  const std::string dev = place + "/dev";
  const std::string file = place + "/file";
  bool made = ::unshare(CLONE_NEWNS) == 0 &&
              ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
              ::mount("none", kPlace, "tmpfs", MS_NOSUID, "mode=0755") == 0 &&
              ::mkdir(dev.c_str(), 0755) == 0 && MakeDevices(dev) && MakeFile(file);
  for (const writ::test::TableRow& row : writ::test::TheTable()->rows) {
    if (row.guard_off != writ::test::GuardOff::kStandIn) continue;
    for (const std::string& path : writ::test::HostPathsOf(row.attack))
      made = made && (!proc && writ::test::IsBelowProc(path) ? true : PutInReach(dev, file, path));
  }
  return made && Bind(dev, "/dev") && ::umount2(kPlace, MNT_DETACH) == 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 2 ? argv[1] : "";
  if (what != "process" && what != "namespaces") return 2;
  if (::geteuid() != 0) {
    std::puts("skipped: only root can put the host's files within reach");
    return 77;
  }
  if (!writ::test::TheTable() || !PutAllInReach(what == "process")) {
    std::perror("host_in_reach");
    return 2;
  }
  ::setenv("WRIT_HOST_IN_REACH", what.c_str(), 1);
  ::execv(argv[2], argv + 2);
  std::perror(argv[2]);
  return 127;
}
