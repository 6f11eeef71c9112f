// ServiceManager: tells the program that started us - systemd, or another that speaks its protocol
// (sd_notify(3)) - that we are ready, reloading, stopping, alive, and what we do.
//
// One datagram per word to the socket named by NOTIFY_SOCKET: a path, or "@NAME" in the abstract
// namespace. Nothing is waited for and nothing fails for it: a manager that does not listen is
// none. The variables are taken out of the environment, so that no child speaks for us. Thread-safe
// after construction.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "writ/base/unique_fd.h"

namespace writ {

class ServiceManager {
 public:
  // From NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID, which it removes; before other threads are.
  // Without them every call does nothing.
  static ServiceManager FromEnvironment();
  // To this socket; for tests too. Empty or unusable: nobody listens.
  explicit ServiceManager(std::string_view socket_name,
                          std::optional<std::chrono::microseconds> watchdog = std::nullopt);

  bool listening() const { return socket_.valid(); }
  // How often it wants to hear Alive; nullopt: never. Ask for it twice as often.
  std::optional<std::chrono::microseconds> watchdog() const { return watchdog_; }

  void Ready(std::string_view status);
  // Before a reload; Ready again after it. Carries the monotonic time, as Type=notify-reload asks.
  void Reloading();
  void Stopping(std::string_view status);
  void Status(
      std::string_view status);  // one line; other characters than printable ones become ' '
  void Alive();                  // only when the program's own loops are known to turn

 private:
  void Send(const std::string& message);
  UniqueFd socket_;
  std::optional<std::chrono::microseconds> watchdog_;
};

}  // namespace writ
