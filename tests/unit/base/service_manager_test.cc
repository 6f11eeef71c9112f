#include "writ/base/service_manager.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>
#include <filesystem>

namespace writ {
namespace {

// A real datagram socket, as the service manager holds it.
class Listener {
 public:
  enum class Where { kPath, kAbstract };
  explicit Listener(Where where) {
    std::string pattern = (std::filesystem::temp_directory_path() / "writ-sd-XXXXXX").string();
    dir_ = mkdtemp(pattern.data());
    name_ = where == Where::kPath ? dir_ + "/notify" : "@" + dir_;
    fd_ = UniqueFd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, name_.data(), name_.size());
    if (where == Where::kAbstract) address.sun_path[0] = '\0';
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name_.size() +
                                             (where == Where::kPath ? 1 : 0));
    bound_ = bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), size) == 0;
  }
  ~Listener() { std::filesystem::remove_all(dir_); }
  const std::string& name() const { return name_; }
  bool bound() const { return bound_; }
  // The next message, or "" where none came in time.
  std::string Next() {
    pollfd entry{fd_.get(), POLLIN, 0};
    if (poll(&entry, 1, 5000) != 1) return "";
    char text[1024];
    ssize_t n = recv(fd_.get(), text, sizeof text, 0);
    return n > 0 ? std::string(text, static_cast<std::size_t>(n)) : "";
  }
  bool Silent() {
    pollfd entry{fd_.get(), POLLIN, 0};
    return poll(&entry, 1, 0) == 0;
  }

 private:
  std::string dir_, name_;
  UniqueFd fd_;
  bool bound_ = false;
};

TEST(ServiceManager, SaysItsWordsToAPathAndToAnAbstractName) {
  for (auto where : {Listener::Where::kPath, Listener::Where::kAbstract}) {
    Listener listener(where);
    ASSERT_TRUE(listener.bound());
    ServiceManager manager(listener.name());
    ASSERT_TRUE(manager.listening());
    manager.Ready("serving");
    EXPECT_EQ(listener.Next(), "READY=1\nSTATUS=serving");
    manager.Status("2 runs in work");
    EXPECT_EQ(listener.Next(), "STATUS=2 runs in work");
    manager.Alive();
    EXPECT_EQ(listener.Next(), "WATCHDOG=1");
    manager.Reloading();
    EXPECT_TRUE(listener.Next().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    manager.Stopping("draining");
    EXPECT_EQ(listener.Next(), "STOPPING=1\nSTATUS=draining");
  }
}

// What comes from a plane or a run can stand in a status: it must not be a second assignment.
TEST(ServiceManager, LetsNoStatusSayAnotherWord) {
  Listener listener(Listener::Where::kPath);
  ServiceManager manager(listener.name());
  manager.Status("run x\nREADY=1\nMAINPID=1\x7f");
  EXPECT_EQ(listener.Next(), "STATUS=run x READY=1 MAINPID=1 ");
}

TEST(ServiceManager, TakesItsVariablesOutOfTheEnvironmentAndHeedsWhoseWatchdogItIs) {
  Listener listener(Listener::Where::kPath);
  setenv("NOTIFY_SOCKET", listener.name().c_str(), 1);
  setenv("WATCHDOG_USEC", "30000000", 1);
  setenv("WATCHDOG_PID", std::to_string(getpid()).c_str(), 1);
  ServiceManager ours = ServiceManager::FromEnvironment();
  EXPECT_TRUE(ours.listening());
  EXPECT_EQ(ours.watchdog(), std::chrono::seconds(30));
  for (const char* name : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"})
    EXPECT_EQ(getenv(name), nullptr) << name;
  setenv("NOTIFY_SOCKET", listener.name().c_str(), 1);
  setenv("WATCHDOG_USEC", "30000000", 1);
  setenv("WATCHDOG_PID", "1", 1);
  EXPECT_FALSE(ServiceManager::FromEnvironment().watchdog());
  setenv("NOTIFY_SOCKET", listener.name().c_str(), 1);
  setenv("WATCHDOG_USEC", "-5", 1);
  EXPECT_FALSE(ServiceManager::FromEnvironment().watchdog());
}

TEST(ServiceManager, IsSilentWhereNobodyListens) {
  for (const char* name : {"", "@", "/", "relative", "/nonexistent/notify", "tcp:1"}) {
    ServiceManager manager(name);
    EXPECT_FALSE(manager.listening()) << name;
    manager.Ready("x");
    manager.Alive();
  }
  EXPECT_FALSE(ServiceManager(std::string(500, '/')).listening());
}

// A manager that does not read its socket holds nobody up.
TEST(ServiceManager, NeverWaitsForAManagerThatDoesNotRead) {
  Listener listener(Listener::Where::kPath);
  ServiceManager manager(listener.name());
  for (int i = 0; i < 20'000; ++i) manager.Status(std::string(400, 'x'));
  EXPECT_FALSE(listener.Silent());
}

}  // namespace
}  // namespace writ
