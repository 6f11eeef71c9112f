// The mock agent against what an independent implementation recorded: the same bytes, the same
// hashes.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <thread>

#include "support/places.h"
#include "support/shared_dir.h"
#include "writ/base/child.h"
#include "writ/base/encoding.h"
#include "writ/base/file.h"
#include "writ/protocol/digest.h"

namespace writ {
namespace {

using testing::HasSubstr;

struct AgentRun {
  int code = -1;
  std::string log;  // stdout and stderr merged
  std::string file;
};

AgentRun RunAgent(std::vector<std::string> args, std::vector<std::string> env) {
  std::string dir = testing::TempDir() + "mock-XXXXXX";
  if (::mkdtemp(dir.data()) == nullptr) std::abort();
  auto pipe = MakePipe();
  if (!pipe) std::abort();
  SpawnOptions options;
  options.path = writ::test::BinDir() + "/writ-mock-agent";
  options.argv = {"writ-mock-agent"};
  options.argv.insert(options.argv.end(), args.begin(), args.end());
  options.env = std::move(env);
  options.cwd = dir;
  options.fds = {{pipe->write_end.get(), 1}, {pipe->write_end.get(), 2}};
  auto child = Child::Spawn(options);
  AgentRun run;
  if (!child) return run;
  pipe->write_end.reset();
  auto log = ReadAll(pipe->read_end.get(), 64u << 20);
  auto status = child->Wait(std::chrono::seconds(30));
  if (log) run.log = *log;
  if (status && *status) run.code = (*status)->ShellCode();
  std::ifstream in(dir + "/MOCK_AGENT.md", std::ios::binary);
  run.file.assign(std::istreambuf_iterator<char>(in), {});
  std::filesystem::remove_all(dir);
  return run;
}

// A proxy that reads one request and answers 403.
class DenyingProxy {
 public:
  DenyingProxy() : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    if (::bind(socket_.get(), generic, size) != 0 || ::listen(socket_.get(), 1) != 0 ||
        ::getsockname(socket_.get(), generic, &size) != 0)
      std::abort();
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] {
      UniqueFd peer(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      char buffer[4096];
      while (request_.find("\r\n\r\n") == std::string::npos) {
        ssize_t n = ::read(peer.get(), buffer, sizeof buffer);
        if (n <= 0) return;
        request_.append(buffer, static_cast<std::size_t>(n));
      }
      (void)WriteAll(peer.get(), "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n").has_value();
    });
  }
  ~DenyingProxy() {
    if (thread_.joinable()) thread_.join();
  }
  std::string Url() const { return "http://writ:t%2Fok@127.0.0.1:" + std::to_string(port_); }
  std::string Request() {
    thread_.join();
    return request_;
  }

 private:
  UniqueFd socket_;
  int port_ = 0;
  std::string request_;
  std::thread thread_;
};

class MockAgent : public testing::Test {
 protected:
  // The recorded conversation, for looking up hashes and blobs in it.
  std::string recorded_ = [] {
    auto text = ReadFile(test::PeerVectors() + "/http.json", 64u << 20);
    return text ? *text : std::string();
  }();
  bool HasHash(const std::string& bytes) const {
    return recorded_.find('"' + protocol::Sha256(bytes).ToHex() + '"') != std::string::npos;
  }
};

TEST_F(MockAgent, ReplaysTheRecordedNetworkProbe) {
  DenyingProxy proxy;
  AgentRun run = RunAgent({"probe the network"}, {"HTTP_PROXY=" + proxy.Url()});
  EXPECT_EQ(run.code, 0);
  EXPECT_EQ(
      run.log,
      "mock agent received task: probe the network\nnetwork probe status: 403\nmock agent done\n");
  EXPECT_TRUE(HasHash(run.log));
  EXPECT_TRUE(HasHash(run.file)) << run.file;
  const std::string request = proxy.Request();
  EXPECT_THAT(request,
              testing::StartsWith(
                  "GET http://denied.example.com/probe HTTP/1.1\r\nHost: denied.example.com\r\n"));
  EXPECT_THAT(request,
              HasSubstr("Proxy-Authorization: Basic " + Base64Encode("writ:t/ok") + "\r\n"));
}

TEST_F(MockAgent, ReplaysTheRecordedSecret) {
  AgentRun run = RunAgent({"use the secret"}, {"MOCK_SECRET=value"});
  EXPECT_EQ(run.code, 0);
  EXPECT_TRUE(HasHash(run.log)) << run.log;
  EXPECT_TRUE(HasHash(run.file)) << run.file;
  EXPECT_EQ(run.log.find("value"), std::string::npos);
}

TEST_F(MockAgent, ReplaysTheRecordedFailure) {
  AgentRun run = RunAgent({"please fail"}, {});
  EXPECT_EQ(run.code, 1);
  EXPECT_TRUE(HasHash(run.log)) << run.log;
  EXPECT_TRUE(HasHash(run.file)) << run.file;
}

TEST_F(MockAgent, ProbesAnotherHostWhenTold) {
  DenyingProxy proxy;
  RunAgent({"network"}, {"HTTP_PROXY=" + proxy.Url(), "MOCK_PROBE_HOST=api.example.com"});
  EXPECT_THAT(proxy.Request(), testing::StartsWith("GET http://api.example.com/probe "));
}

TEST_F(MockAgent, SaysUnreachableWithoutAProxy) {
  EXPECT_THAT(RunAgent({"network"}, {}).log, HasSubstr("network probe status: unreachable\n"));
}

TEST_F(MockAgent, ListsItsModesAndRefusesOthers) {
  AgentRun help = RunAgent({"--help"}, {});
  EXPECT_EQ(help.code, 0);
  for (const char* mode :
       {"fork-bomb", "ignore-sigterm", "burst-exit", "symlink-escape", "plant-git-config",
        "secret-in-pieces", "ignore-proxy", "special-files", "read-host-files"})
    EXPECT_THAT(help.log, HasSubstr(mode));
  EXPECT_EQ(RunAgent({"--misbehave", "no-such-mode"}, {}).code, 2);
  EXPECT_EQ(RunAgent({}, {}).code, 2);
}

TEST_F(MockAgent, WritesEightMebibytesAndEnds) {
  AgentRun run = RunAgent({"--misbehave", "burst-exit"}, {});
  EXPECT_EQ(run.code, 0);
  EXPECT_EQ(run.log.size(), 8u << 20);
}

}  // namespace
}  // namespace writ
