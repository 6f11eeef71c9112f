// Services that a developer's machine offers to whoever can connect, and what a runner's own
// environment would tell of them.
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>

#include "attack.h"

namespace writ::hostile {
namespace {

bool ConnectsTo(const std::string& name) {
  if (name.empty() || name.size() >= sizeof(sockaddr_un::sun_path)) return false;
  const int socket = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, name.data(), name.size());
  const bool abstract = name.front() == '\0';
  const std::size_t size = offsetof(sockaddr_un, sun_path) + name.size() + (abstract ? 0 : 1);
  const bool connected = socket >= 0 && ::connect(socket, reinterpret_cast<sockaddr*>(&address),
                                                  static_cast<socklen_t>(size)) == 0;
  if (socket >= 0) ::close(socket);
  return connected;
}

// Where the test's own one listens, and where they are everywhere.
Result Finds(const char* variable, const std::vector<std::string>& usual) {
  bool found = ConnectsTo(Target(variable));
  for (const std::string& path : usual) found = found || ConnectsTo(path);
  return From(found);
}
std::string Runtime(const char* name) {
  return "/run/user/" + std::to_string(::getuid()) + "/" + name;
}

Result Docker() {
  return Finds("DOCKER_SOCKET", {"/run/docker.sock", "/var/run/docker.sock",
                                 "/run/containerd/containerd.sock", "/run/podman/podman.sock"});
}
Result SshAgent() {
  return Finds("SSH_AUTH_SOCK", {Runtime("keyring/ssh"), Runtime("openssh_agent")});
}
Result DBus() {
  return Finds("DBUS_SOCKET", {"/run/dbus/system_bus_socket", Runtime("bus")});
}
Result Systemd() {
  return Finds("SYSTEMD_SOCKET", {"/run/systemd/private", Runtime("systemd/private")});
}
Result X11() {
  return Finds("X11_SOCKET", {"/tmp/.X11-unix/X0", Runtime("wayland-0")});
}
Result X11Abstract() {
  using std::string_literals::operator""s;
  const bool found = ConnectsTo("\0"s + Target("X11_ABSTRACT"));
  return From(found || ConnectsTo("\0/tmp/.X11-unix/X0"s));
}
Result Inherited() {
  return From(!Target("WRIT_HOSTILE_CANARY").empty());
}

}  // namespace

const std::vector<Attack>& ServiceAttacks() {
  static const std::vector<Attack> attacks = {
      {"docker-socket", Docker},
      {"ssh-agent", SshAgent},
      {"dbus", DBus},
      {"systemd", Systemd},
      {"x11", X11},
      {"x11-abstract", X11Abstract},
      {"inherited-environment", Inherited},
  };
  return attacks;
}

}  // namespace writ::hostile
