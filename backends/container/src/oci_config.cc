#include "oci_config.h"

#include "writ/protocol/json.h"

namespace writ::backends {
namespace {

json::Object Mount(const char* destination, const char* type, const char* source,
                   const std::vector<std::string>& options) {
  return json::Object{{"destination", destination},
                      {"type", type},
                      {"source", source},
                      {"options", json::Value::Texts(options)}};
}

json::Array Mounts(const std::vector<ConfigBind>& binds, launch::ContainerKernel kernel,
                   const MemoryPlace& shared_memory) {
  json::Array out;
  out.push_back(Mount("/proc", "proc", "proc", {"nosuid", "nodev", "noexec", "hidepid=2"}));
  out.push_back(Mount("/dev", "tmpfs", "tmpfs",
                      {"nosuid", "noexec", "strictatime", "mode=755", "size=65536"}));
  out.push_back(Mount("/dev/pts", "devpts", "devpts",
                      {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "max=64"}));
  if (kernel == launch::ContainerKernel::kHosts)
    out.push_back(
        Mount("/dev/shm", "tmpfs", "shm",
              {"nosuid", "nodev", "mode=1777", "size=" + std::to_string(shared_memory.bytes),
               "nr_inodes=" + std::to_string(shared_memory.files)}));
  for (const ConfigBind& bind : binds) {
    if (bind.access == ConfigBind::Access::kWritableTree)
      out.push_back(Mount(bind.destination.c_str(), "bind", bind.source.c_str(),
                          {"rbind", "rw", "nosuid", "nodev"}));
    else
      out.push_back(Mount(bind.destination.c_str(), "bind", bind.source.c_str(),
                          {"bind", "ro", "nosuid", "nodev", "noexec"}));
  }
  return out;
}

json::Array Namespaces() {
  json::Array out;
  for (const char* type : {"mount", "pid", "ipc", "uts"})
    out.push_back(json::Object{{"type", type}});
  return out;
}

}  // namespace

std::string OciConfig(const std::string& launcher, const std::vector<ConfigBind>& binds,
                      launch::ContainerKernel kernel, const MemoryPlace& shared_memory,
                      launch::Entries entries) {
  // Since Linux 5.12 whoever maps a parent's uid 0 must have had this; given up before the job.
  std::vector<std::string> names = {"CAP_SETFCAP"};
  if (kernel == launch::ContainerKernel::kOwn && entries == launch::Entries::kAccepted)
    names.push_back("CAP_SYS_ADMIN");
  const json::Value held = json::Value::Texts(names);
  const json::Object capabilities{{"bounding", held},
                                  {"effective", held},
                                  {"inheritable", json::Array()},
                                  {"permitted", held},
                                  {"ambient", json::Array()}};
  const char* word = kernel == launch::ContainerKernel::kOwn ? "--inside-own-kernel" : "--inside";
  const json::Object process{{"terminal", false},
                             {"user", json::Object{{"uid", 0}, {"gid", 0}}},
                             {"args", json::Value::Texts({launcher, word})},
                             {"env", json::Value::Texts({"PATH=/usr/bin:/bin"})},
                             {"cwd", "/"},
                             {"capabilities", capabilities},
                             {"noNewPrivileges", true}};
  const std::vector<std::string> masked = {
      "/proc/acpi",      "/proc/asound",        "/proc/interrupts",  "/proc/kallsyms",
      "/proc/kcore",     "/proc/key-users",     "/proc/keys",        "/proc/kmsg",
      "/proc/scsi",      "/proc/latency_stats", "/proc/sched_debug", "/proc/sysrq-trigger",
      "/proc/timer_list"};
  const json::Object linux_part{
      {"namespaces", Namespaces()},
      {"maskedPaths", json::Value::Texts(masked)},
      {"readonlyPaths", json::Value::Texts({"/proc/sys", "/proc/irq", "/proc/bus", "/proc/fs"})}};
  return json::WritePretty(json::Object{
      {"ociVersion", "1.1.0"},  // the newest that crun, runc and runsc of Debian 12 all take
      {"process", process},
      {"root", json::Object{{"path", "/rootfs"}, {"readonly", true}}},
      {"hostname", kHostName},
      {"mounts", Mounts(binds, kernel, shared_memory)},
      {"linux", linux_part}});
}

}  // namespace writ::backends
