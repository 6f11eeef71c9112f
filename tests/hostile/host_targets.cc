#include "hostile/host_targets.h"
#include "support/places.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "writ/base/file.h"

namespace writ::test {
namespace fs = std::filesystem;
namespace {

UniqueFd Bound(int family, int type, const void* address, socklen_t size) {
  UniqueFd socket(::socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket || ::bind(socket.get(), static_cast<const sockaddr*>(address), size) != 0) return {};
  if (type == SOCK_STREAM && ::listen(socket.get(), 16) != 0) return {};
  return socket;
}

int PortOf(const UniqueFd& socket) {
  sockaddr_in6 address{};  // the port stands at the same place in both families
  socklen_t size = sizeof address;
  if (!socket || ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0)
    return 0;
  return ntohs(address.sin6_port);
}

sockaddr_in Loopback(const char* text, int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  ::inet_pton(AF_INET, text, &address.sin_addr);
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  return address;
}

// This test's own: the proxy of a test beside this one may have the same port in its namespace.
std::string OtherAddress() {
  const auto pid = static_cast<unsigned>(::getpid());
  std::string address = "127." + std::to_string(2 + (pid >> 16) % 250);
  for (const unsigned shift : {8U, 0U}) address += "." + std::to_string(pid >> shift & 0xff);
  return address;
}

void Own(const std::string& path, backends::Identity identity) {
  if (::geteuid() == 0 && ::lchown(path.c_str(), identity.uid, identity.gid) != 0) std::abort();
}

}  // namespace

HostTargets::HostTargets(const JobFixture& job, int proxy_port)
    : job_(job), proxy_port_(proxy_port) {
  outside_ = job.base() + "/outside";
  fs::create_directory(outside_);
  Own(outside_, job.identity());
  ResetOutside();
  MakeStateOfTheRunner();
  MakeServices(proxy_port);
  MakeBystander();
  MakeSetUidCopy();
}

HostTargets::~HostTargets() = default;

void HostTargets::MakeServices(int proxy_port) {
  sockaddr_in any = Loopback("127.0.0.1", 0);
  services_.push_back({"tcp service", Bound(AF_INET, SOCK_STREAM, &any, sizeof any)});
  tcp_port_ = PortOf(services_.back().socket);
  // MSG_FASTOPEN needs a server that takes it, else the kernel falls back to a plain handshake.
  int queue = 16;
  ::setsockopt(services_.back().socket.get(), IPPROTO_TCP, 23 /* TCP_FASTOPEN */, &queue,
               sizeof queue);
  sockaddr_in other = Loopback(OtherAddress().c_str(), proxy_port);
  services_.push_back(
      {"tcp on another address", Bound(AF_INET, SOCK_STREAM, &other, sizeof other)});
  sockaddr_in6 any6{};
  any6.sin6_family = AF_INET6;
  any6.sin6_addr = in6addr_loopback;
  services_.push_back({"tcp6 service", Bound(AF_INET6, SOCK_STREAM, &any6, sizeof any6)});
  tcp6_port_ = PortOf(services_.back().socket);
  services_.push_back({"udp service", Bound(AF_INET, SOCK_DGRAM, &any, sizeof any), false});
  udp_port_ = PortOf(services_.back().socket);
  for (auto [name, type] : {std::pair{"stream.sock", SOCK_STREAM},
                            {"dgram.sock", SOCK_DGRAM},
                            {"docker.sock", SOCK_STREAM},
                            {"agent.sock", SOCK_STREAM},
                            {"bus.sock", SOCK_STREAM},
                            {"systemd.sock", SOCK_STREAM},
                            {"x11.sock", SOCK_STREAM}}) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::string path = job_.base() + "/" + name;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    services_.push_back(
        {name, Bound(AF_UNIX, type, &address, sizeof address), type == SOCK_STREAM});
    ::chmod(path.c_str(), 0777);
  }
  abstract_name_ = "writ-hostile-" + job_.run_id();
  for (const std::string& name : {abstract_name_, "/tmp/.X11-unix/X" + job_.run_id()}) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path + 1, name.data(), name.size());
    auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
    services_.push_back({"abstract " + name, Bound(AF_UNIX, SOCK_STREAM, &address, size)});
  }
}

// Readable by everybody, the other run's its own: only the guard stands between, not the mode.
void HostTargets::MakeStateOfTheRunner() {
  for (const char* dir : {"/state", "/other-run", "/stand-in"})
    fs::create_directory(job_.base() + dir);
  for (const char* file :
       {"/runner.key", "/state/identity.json", "/state/journal.db", "/other-run/file"}) {
    std::ofstream(job_.base() + file) << "not for the job\n";
    ::chmod((job_.base() + file).c_str(), 0644);
  }
  for (const char* path : {"/other-run", "/other-run/file", "/stand-in"})
    Own(job_.base() + path, job_.identity());
}

void HostTargets::MakeBystander() {
  SpawnOptions options;
  options.path = writ::test::BinDir() + "/hostile";
  options.argv = {"hostile"};
  if (::geteuid() == 0) {
    const backends::Identity identity = job_.identity();
    for (const std::string& word :
         {std::string("--as"), std::to_string(identity.uid), std::to_string(identity.gid)})
      options.argv.push_back(word);
  }
  options.argv.emplace_back("--bystander");
  auto child = Child::Spawn(options);
  if (child) bystander_ = std::move(child).value();
  // It is a victim once it stands there under the job's uid.
  for (int i = 0; i < 100000; ++i) {
    std::ifstream comm("/proc/" + std::to_string(bystander_.pid()) + "/comm");
    std::string name;
    std::getline(comm, name);
    if (name == "bystander") return;
  }
}

void HostTargets::MakeSetUidCopy() {
  if (::geteuid() != 0) return;
  setuid_dir_ = job_.base() + "/setuid";
  fs::create_directory(setuid_dir_);  // may be there: a plan names it before
  const std::string copy = setuid_dir_ + "/hostile";
  fs::copy_file(writ::test::BinDir() + "/hostile", copy);
  ::chmod(copy.c_str(), 04755);
}

std::vector<backends::Variable> HostTargets::Variables(const std::string& victim) const {
  return {{"PROXY_PORT", std::to_string(proxy_port_)},
          {"OTHER_ADDRESS", OtherAddress()},
          {"TCP_PORT", std::to_string(tcp_port_)},
          {"TCP6_PORT", std::to_string(tcp6_port_)},
          {"UDP_PORT", std::to_string(udp_port_)},
          {"UNIX_PATH", job_.base() + "/stream.sock"},
          {"UNIX_DGRAM_PATH", job_.base() + "/dgram.sock"},
          {"UNIX_ABSTRACT", abstract_name_},
          {"DOCKER_SOCKET", job_.base() + "/docker.sock"},
          {"SSH_AUTH_SOCK", job_.base() + "/agent.sock"},
          {"DBUS_SOCKET", job_.base() + "/bus.sock"},
          {"SYSTEMD_SOCKET", job_.base() + "/systemd.sock"},
          {"X11_SOCKET", job_.base() + "/x11.sock"},
          {"X11_ABSTRACT", "/tmp/.X11-unix/X" + job_.run_id()},
          {"VICTIM", victim.empty() ? std::to_string(bystander_.pid()) : victim},
          {"KEY_FILE", job_.base() + "/runner.key"},
          {"IDENTITY_FILE", job_.base() + "/state/identity.json"},
          {"JOURNAL_FILE", job_.base() + "/state/journal.db"},
          {"OTHER_RUN", job_.base() + "/other-run"},
          {"OUTSIDE", outside_},
          {"SETUID_PROGRAM", setuid_dir_.empty() ? "" : setuid_dir_ + "/hostile"}};
}

std::vector<std::string> HostTargets::Arrived() {
  std::vector<std::string> arrived;
  for (Service& service : services_) {
    if (!service.socket) continue;
    for (bool more = true; more;) {
      char buffer[64];
      UniqueFd peer;
      if (service.stream) {
        peer.reset(::accept4(service.socket.get(), nullptr, nullptr, SOCK_CLOEXEC));
        more = peer.valid();
      } else {
        more = ::recv(service.socket.get(), buffer, sizeof buffer, 0) >= 0;
      }
      if (more) arrived.push_back(service.name);
    }
  }
  return arrived;
}

void HostTargets::ResetOutside() const {
  for (const auto& entry : fs::directory_iterator(outside_)) fs::remove_all(entry.path());
  for (const char* name : {"file", "move-me", "remove-me", "program"}) {
    std::string path = outside_ + "/" + name;
    std::ofstream(path) << (std::string(name) == "program" ? "#!/bin/sh\nexit 0\n" : "unchanged\n");
    ::chmod(path.c_str(), 0755);
    Own(path, job_.identity());
  }
}

std::vector<std::string> HostTargets::OutsideChanges() const {
  std::vector<std::string> changes;
  std::size_t known = 0;
  for (const auto& entry : fs::directory_iterator(outside_)) {
    const std::string name = entry.path().filename();
    const bool expected =
        name == "file" || name == "move-me" || name == "remove-me" || name == "program";
    if (!expected) {
      changes.push_back("new: " + name);
      continue;
    }
    ++known;
    if (name == "program") continue;
    std::ifstream in(entry.path());
    std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
    if (text != "unchanged\n") changes.push_back("changed: " + name);
  }
  if (known != 4) changes.push_back("something is gone");
  return changes;
}

std::string HostTargets::HostSettings() {
  std::string text;
  for (const char* path :
       {"/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/kernel/hotplug",
        "/proc/sys/kernel/poweroff_cmd", "/proc/sys/kernel/randomize_va_space",
        "/proc/sys/kernel/hostname", "/proc/sys/vm/swappiness", "/proc/sys/vm/nr_hugepages",
        "/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv4/ping_group_range",
        "/sys/kernel/uevent_helper", "/sys/kernel/mm/transparent_hugepage/enabled",
        "/sys/fs/cgroup/pids/release_agent", "/sys/fs/cgroup/memory/release_agent",
        "/sys/fs/cgroup/cpu/release_agent", "/proc/swaps", "/sys/class/net/lo/flags"}) {
    std::ifstream in(path);
    text += std::string(path) + ": " +
            std::string(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()) +
            "\n";
  }
  return text;
}

std::vector<pid_t> HostTargets::ProcessesMarked(const std::string& mark) {
  const auto text = [](const fs::path& file) {  // of one that has gone meanwhile: nothing
    return ReadFile(file.string(), std::uint64_t{4} << 20).value_or("");
  };
  const std::string variable = "MARK=" + mark + std::string(1, '\0');
  std::vector<pid_t> found;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const pid_t pid = std::atoi(entry.path().filename().c_str());
    if (pid > 0 && (text(entry.path() / "comm") == mark + "\n" ||
                    text(entry.path() / "environ").find(variable) != std::string::npos))
      found.push_back(pid);
  }
  return found;
}

}  // namespace writ::test
