#include "writ/backends/sandbox/system_view.h"

#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <string>
#include <string_view>

#include "writ/backends/linux/system_roots.h"

namespace writ::backends {
namespace {

using launch::BindAccess;
using launch::ViewStep;
using Kind = launch::ViewStep::Kind;

// Names in /etc that say nothing of this host but how its programs work. No accounts, no keys, no
// resolver, no mounts.
constexpr const char* kEtcNames[] = {"alternatives",
                                     "bash.bashrc",
                                     "ca-certificates",
                                     "ca-certificates.conf",
                                     "crypto-policies",
                                     "debian_version",
                                     "fonts",
                                     "gai.conf",
                                     "inputrc",
                                     "java-17-openjdk",
                                     "java-21-openjdk",
                                     "ld.so.cache",
                                     "ld.so.conf",
                                     "ld.so.conf.d",
                                     "locale.alias",
                                     "localtime",
                                     "magic",
                                     "mime.types",
                                     "os-release",
                                     "perl",
                                     "pki",
                                     "profile",
                                     "profile.d",
                                     "protocols",
                                     "python3",
                                     "python3.11",
                                     "python3.12",
                                     "python3.13",
                                     "redhat-release",
                                     "rpc",
                                     "services",
                                     "shells",
                                     "terminfo",
                                     "timezone",
                                     "xattr.conf"};

constexpr const char* kDevices[] = {"null", "zero", "full", "random", "urandom", "tty"};

// What of /proc tells about the host rather than the job.
constexpr const char* kMasked[] = {
    "acpi", "asound",        "interrupts",  "kallsyms", "kcore",         "key-users", "keys",
    "kmsg", "latency_stats", "sched_debug", "scsi",     "sysrq-trigger", "timer_list"};

// A link of the host stays a link where it leads into what is seen anyway.
bool LeadsIntoSystem(const std::string& link) {
  return link.rfind("/usr/", 0) == 0 || link.rfind("usr/", 0) == 0 || link.rfind("../usr/", 0) == 0;
}

void AddFromHost(const std::string& name, std::vector<ViewStep>& view) {
  const std::string path = "/" + name;
  struct stat st {};
  if (::lstat(path.c_str(), &st) != 0) return;
  if (S_ISLNK(st.st_mode)) {
    char text[PATH_MAX];
    const ssize_t size = ::readlink(path.c_str(), text, sizeof text);
    std::string link(text, size > 0 ? static_cast<std::size_t>(size) : 0);
    if (LeadsIntoSystem(link)) view.push_back(MakeStep(Kind::kSymlink, name, std::move(link)));
    return;
  }
  if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode)) return;
  view.push_back(MakeStep(Kind::kBind, name, path));
}

// Certificates without the private keys beside them.
void AddCertificates(std::vector<ViewStep>& view) {
  for (const char* name : {"etc/ssl/certs", "etc/ssl/openssl.cnf"}) AddFromHost(name, view);
}

void AddDev(std::vector<ViewStep>& view) {
  for (const char* name : kDevices) {
    view.push_back(MakeStep(Kind::kBind, std::string("dev/") + name, std::string("/dev/") + name,
                            BindAccess::kDevice));
  }
  view.push_back(MakeStep(Kind::kDevpts, "dev/pts"));
  ViewStep shm = MakeStep(Kind::kTmpfs, "dev/shm");
  shm.mode = 01777;
  view.push_back(std::move(shm));
  view.push_back(MakeStep(Kind::kSymlink, "dev/ptmx", "pts/ptmx"));
  view.push_back(MakeStep(Kind::kSymlink, "dev/fd", "/proc/self/fd"));
  view.push_back(MakeStep(Kind::kSymlink, "dev/stdin", "/proc/self/fd/0"));
  view.push_back(MakeStep(Kind::kSymlink, "dev/stdout", "/proc/self/fd/1"));
  view.push_back(MakeStep(Kind::kSymlink, "dev/stderr", "/proc/self/fd/2"));
}

void AddProc(std::vector<ViewStep>& view) {
  view.push_back(MakeStep(Kind::kProc, "proc"));
  for (const char* name : kMasked)
    view.push_back(MakeStep(Kind::kMask, std::string("proc/") + name));
  for (const char* name : {"proc/sys", "proc/irq", "proc/bus", "proc/fs"})
    view.push_back(MakeStep(Kind::kSeal, name));
}

}  // namespace

bool IsSystemProgram(const ViewStep& step) {
  if (step.kind == Kind::kBind && step.access == BindAccess::kDevice) return true;
  if (step.kind != Kind::kBind && step.kind != Kind::kSymlink) return false;
  const auto is = [&](std::string_view name) { return step.target == name; };
  return std::any_of(std::begin(kProgramRoots), std::end(kProgramRoots), is) ||
         is("etc/ld.so.cache") || is("etc/alternatives");
}

std::vector<ViewStep> SystemView() {
  std::vector<ViewStep> view;
  for (std::string_view name : kProgramRoots) AddFromHost(std::string(name), view);
  for (const char* name : kEtcNames) AddFromHost(std::string("etc/") + name, view);
  AddCertificates(view);
  view.push_back(MakeStep(Kind::kSymlink, "etc/mtab", "/proc/mounts"));
  for (ViewStep& step : SurroundingsView()) view.push_back(std::move(step));
  for (const char* name : {"opt", "mnt", "srv", "var/cache", "var/lib", "var/log"})
    view.push_back(MakeStep(Kind::kDirectory, name));
  view.push_back(MakeStep(Kind::kSymlink, "var/run", "/run"));
  return view;
}

std::vector<ViewStep> SurroundingsView() {
  std::vector<ViewStep> view;
  AddDev(view);
  AddProc(view);
  AddFromHost("sys/devices/system/cpu", view);
  view.push_back(MakeStep(Kind::kDirectory, "run"));
  return view;
}

}  // namespace writ::backends
