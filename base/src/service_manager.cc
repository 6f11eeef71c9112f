#include "writ/base/service_manager.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <charconv>

namespace writ {
namespace {

std::optional<std::uint64_t> NumberIn(const char* name) {
  const char* text = getenv(name);
  if (text == nullptr) return std::nullopt;
  std::string_view digits(text);
  std::uint64_t value = 0;
  auto [end, wrong] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (wrong != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}

std::string OneLine(std::string_view text) {
  std::string out(text.substr(0, 500));
  for (char& c : out)
    if (c < ' ' || c == 127) c = ' ';
  return out;
}

}  // namespace

ServiceManager ServiceManager::FromEnvironment() {
  const char* name = getenv("NOTIFY_SOCKET");
  std::string socket_name = name == nullptr ? "" : name;
  std::optional<std::chrono::microseconds> watchdog;
  // The watchdog of another process, where its pid is named, is not ours.
  const std::optional<std::uint64_t> pid = NumberIn("WATCHDOG_PID");
  const bool ours =
      getenv("WATCHDOG_PID") == nullptr || (pid && *pid == static_cast<std::uint64_t>(getpid()));
  if (auto usec = NumberIn("WATCHDOG_USEC"); usec && *usec > 0 && ours)
    watchdog = std::chrono::microseconds(*usec);
  for (const char* variable : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"})
    unsetenv(variable);
  return ServiceManager(socket_name, watchdog);
}

ServiceManager::ServiceManager(std::string_view name,
                               std::optional<std::chrono::microseconds> watchdog) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (name.size() < 2 || name.size() >= sizeof address.sun_path ||
      (name[0] != '/' && name[0] != '@'))
    return;
  memcpy(address.sun_path, name.data(), name.size());
  if (name[0] == '@') address.sun_path[0] = '\0';
  // A path ends with its NUL, an abstract name with its last byte.
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size() +
                                           (name[0] == '/' ? 1 : 0));
  UniqueFd fd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd || connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), size) != 0) return;
  socket_ = std::move(fd);
  watchdog_ = watchdog;
}

void ServiceManager::Send(const std::string& message) {
  if (!socket_) return;
  (void)send(socket_.get(), message.data(), message.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

void ServiceManager::Ready(std::string_view status) {
  Send("READY=1\nSTATUS=" + OneLine(status));
}

void ServiceManager::Reloading() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  Send("RELOADING=1\nMONOTONIC_USEC=" +
       std::to_string(static_cast<std::uint64_t>(now.tv_sec) * 1'000'000 +
                      static_cast<std::uint64_t>(now.tv_nsec) / 1000));
}

void ServiceManager::Stopping(std::string_view status) {
  Send("STOPPING=1\nSTATUS=" + OneLine(status));
}

void ServiceManager::Status(std::string_view status) {
  Send("STATUS=" + OneLine(status));
}

void ServiceManager::Alive() {
  Send("WATCHDOG=1");
}

}  // namespace writ
