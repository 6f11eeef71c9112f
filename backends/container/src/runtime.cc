#include "runtime.h"

#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <chrono>
#include <cstdlib>

#include "writ/base/child.h"
#include "writ/base/file.h"

namespace writ::backends {
namespace {

constexpr std::chrono::seconds kVersionBound{10};
constexpr char kInstall[] =
    "install crun, runc or runsc (packages of that name), or name one in the configuration";

std::string RealPath(const std::string& path) {
  char* real = ::realpath(path.c_str(), nullptr);
  std::string out = real != nullptr ? real : "";
  std::free(real);
  return out;
}

std::string LookUp(const std::string& name) {
  for (const char* dir :
       {"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}) {
    const std::string path = std::string(dir) + "/" + name;
    if (::access(path.c_str(), X_OK) == 0) return RealPath(path);
  }
  return {};
}

std::string AskVersion(const std::string& path) {
  auto pipe = MakePipe();
  if (!pipe) return {};
  SpawnOptions spawn;
  spawn.path = path;
  spawn.argv = {path, "--version"};
  spawn.env = {"PATH=/usr/bin:/bin"};
  spawn.fds = {{pipe->write_end.get(), 1}};
  auto child = Child::Spawn(spawn);
  pipe->write_end.reset();
  if (!child) return {};
  auto status = child->Wait(kVersionBound);
  if (!status || !*status || (*status)->ShellCode() != 0) return {};
  auto text = ReadAll(pipe->read_end.get(), 64 * 1024);
  return text ? *text : std::string();
}

bool OwnedByTheSystem(const std::string& path) {
  struct stat st {};
  return ::stat(path.c_str(), &st) == 0 && S_ISREG(st.st_mode) &&
         (st.st_uid == 0 || st.st_uid == ::geteuid()) && (st.st_mode & 0022) == 0;
}

}  // namespace

std::string ParseRuntimeVersion(std::string_view output, std::string_view name) {
  const std::string_view line = output.substr(0, output.find('\n'));
  const std::string start = std::string(name) + " version ";
  if (!line.starts_with(start)) return {};
  const std::string_view version = line.substr(start.size());
  for (char c : version)
    if (c <= 0x20 || c > 0x7e) return {};
  return std::string(version.substr(0, 64));
}

// From 1.0 on both keep descriptors for the container and do without cgroups of their own.
bool IsRecentEnough(std::string_view version, std::string_view name) {
  if (name == "runsc") return true;  // numbered by dates
  unsigned major = 0;
  auto [end, error] = std::from_chars(version.data(), version.data() + version.size(), major);
  return error == std::errc() && major >= 1 && !version.starts_with("1.0.0-rc");
}

RuntimeFeatures FindRuntime(const std::string& wanted) {
  RuntimeFeatures out;
  auto no = [&out](std::string reason, std::string mend) {
    out.reason = std::move(reason);
    out.mend = std::move(mend);
    return out;
  };
  if (wanted.find('/') != std::string::npos) {
    out.path = RealPath(wanted);
  } else if (!wanted.empty()) {
    out.path = LookUp(wanted);
  } else {
    for (const char* name : {"crun", "runc", "runsc"})
      if (out.path.empty()) out.path = LookUp(name);
  }
  if (out.path.empty())
    return no(wanted.empty() ? "there is no OCI runtime" : "there is no OCI runtime " + wanted,
              kInstall);
  if (!OwnedByTheSystem(out.path))
    return no(out.path + " can be changed by others than the system and this user",
              "make it root's, writable by nobody else");
  const std::string text = AskVersion(out.path);
  for (const char* name : {"crun", "runc", "runsc"}) {
    out.version = ParseRuntimeVersion(text, name);
    out.name = name;
    if (!out.version.empty()) break;
  }
  if (out.version.empty())
    return no(out.path + " does not say that it is crun, runc or runsc", kInstall);
  if (!IsRecentEnough(out.version, out.name))
    return no(out.name + " " + out.version + " is too old: it does not do what this tier needs",
              "install crun 1.0, runc 1.0 or newer, or name another runtime in the configuration");
  return out;
}

std::vector<std::string> RuntimeCommand(const RuntimeFeatures& runtime, const std::string& id,
                                        int descriptors) {
  std::vector<std::string> out = {std::string("/") + kRuntimePlace, "--root=/run/oci"};
  if (runtime.name == "runsc") {
    // The network is the empty namespace that it is started in; its own would reach no listener.
    // ptrace is the platform that every host has.
    for (const char* word :
         {"--network=host", "--platform=ptrace", "--ignore-cgroups", "run", "--bundle"})
      out.push_back(word);
    out.push_back(std::string("/") + kBundlePlace);
    out.push_back(id);
    return out;
  }
  // Limits are held from outside; the view shows no cgroup that the runtime could use.
  out.push_back(runtime.name == "crun" ? "--cgroup-manager=disabled" : "--rootless=true");
  for (const char* word : {"run", "--bundle"}) out.push_back(word);
  out.push_back(std::string("/") + kBundlePlace);
  out.push_back("--preserve-fds");
  out.push_back(std::to_string(descriptors));
  out.push_back(id);
  return out;
}

launch::ContainerKernel KernelOf(const RuntimeFeatures& runtime) {
  return runtime.name == "runsc" ? launch::ContainerKernel::kOwn : launch::ContainerKernel::kHosts;
}

std::uint64_t RuntimeMemory(const RuntimeFeatures& runtime) {
  if (runtime.name == "runsc") return 192u << 20;
  return runtime.name == "runc" ? 64u << 20 : 8u << 20;
}

std::uint64_t RuntimeTasks(const RuntimeFeatures& runtime) {
  // Three programs in Go, and a host process for each address space of the job.
  if (runtime.name == "runsc") return 2 + 256;
  // Init, the runtime, the container's init. Go's runtime has threads of its own.
  return runtime.name == "runc" ? 2 + 24 : 3;
}

}  // namespace writ::backends
