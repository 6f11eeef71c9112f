// What a runner serves of its status, and to whom.
#include "writ/runner/status.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "metrics/run_board.h"
#include "metrics/state_socket.h"
#include "writ/base/paths.h"

namespace writ::runner {
namespace {

using status::ListenForStatus;
using status::StatusAnswer;
using status::StatusListener;
using status::StatusServer;

class StatusServing : public ::testing::Test {
 protected:
  StatusServing() {
    char name[] = "/tmp/writ-status-XXXXXX";
    root_ = mkdtemp(name);
  }
  ~StatusServing() override {
    server_.reset();
    std::filesystem::remove_all(root_);
  }
  void Start() {
    Result<StatusListener> tcp = ListenForStatus("127.0.0.1:0");
    ASSERT_TRUE(tcp) << tcp.error().ToString();
    sockaddr_in address{};
    socklen_t size = sizeof address;
    ASSERT_EQ(getsockname(tcp->fd.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
    UniqueFd dir = *OpenDirectory(root_);
    Result<StatusListener> own = ListenInStateDir(dir.get());
    ASSERT_TRUE(own) << own.error().ToString();
    std::vector<StatusListener> listeners;
    listeners.push_back(std::move(*tcp));
    listeners.push_back(std::move(*own));
    auto server = StatusServer::Start(std::move(listeners), [](std::string_view path) {
      if (path == "/status") return StatusAnswer{.body = "{\"ready\":true}"};
      if (path == "/healthz") return StatusAnswer{.body = "ok\n"};
      return StatusAnswer{.code = 404, .body = "not here\n"};
    });
    ASSERT_TRUE(server);
    server_ = std::move(*server);
  }
  UniqueFd Connect() const {
    UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port_);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    return fd;
  }
  std::string Ask(std::string_view request) const {
    UniqueFd fd = Connect();
    (void)send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL);
    std::string out;
    char piece[4096];
    pollfd waiting{fd.get(), POLLIN, 0};
    while (poll(&waiting, 1, 20'000) > 0) {
      ssize_t n = recv(fd.get(), piece, sizeof piece, 0);
      if (n <= 0) break;
      out.append(piece, static_cast<std::size_t>(n));
    }
    return out;
  }
  std::string root_;
  std::uint16_t port_ = 0;
  std::unique_ptr<StatusServer> server_;
};

TEST_F(StatusServing, AnswersAPlainGetAndNothingElse) {
  Start();
  auto code = [&](std::string_view request) { return Ask(request).substr(9, 3); };
  EXPECT_EQ(code("GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n"), "200");
  EXPECT_EQ(code("GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n"), "404");
  EXPECT_EQ(code("POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"), "405");
  // A web page that was made to name this machine reads nothing.
  EXPECT_EQ(code("GET /healthz HTTP/1.1\r\nHost: evil.example.com\r\n\r\n"), "400");
  EXPECT_EQ(code("GET /healthz HTTP/1.1\r\n\r\n"), "400");
  EXPECT_EQ(code("GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n"), "400");
  EXPECT_EQ(code("GET /healthz HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"),
            "400");
  EXPECT_EQ(code("GET /healthz HTTP/1.1\r\nHost : localhost\r\n\r\n"), "400");
  EXPECT_EQ(code("GET  HTTP/1.1\r\nHost: localhost\r\n\r\n"), "400");
  EXPECT_EQ(code("GET /healthz HTTP/2\r\nHost: localhost\r\n\r\n"), "400");
  EXPECT_EQ(code("GET /" + std::string(20'000, 'a')), "400");
}

TEST_F(StatusServing, IsNotHeldUpByThoseWhoSayNothing) {
  Start();
  std::vector<UniqueFd> silent;
  for (std::size_t i = 0; i < StatusServer::kMaxClients * 2; ++i) silent.push_back(Connect());
  EXPECT_EQ(Ask("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").substr(9, 3), "200");
}

TEST_F(StatusServing, IsReadInTheStateDirectoryByItsOwnUser) {
  EXPECT_EQ(ReadRunnerStatus(root_).error().code, "status.no_runner");
  Start();
  auto status = ReadRunnerStatus(root_);
  ASSERT_TRUE(status) << status.error().ToString();
  EXPECT_TRUE(*status->Find("ready")->if_bool());
  struct stat info {};
  ASSERT_EQ(stat((root_ + "/status.sock").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  // Left by one that was killed: replaced. In use: not.
  UniqueFd dir = *OpenDirectory(root_);
  EXPECT_FALSE(ListenInStateDir(dir.get()));
  server_.reset();
  EXPECT_TRUE(ListenInStateDir(dir.get()));
}

TEST_F(StatusServing, IsRefusedOnOtherInterfaces) {
  for (const char* bad : {"0.0.0.0:9464", "192.168.1.4:9464", "[::]:9464", "localhost:9464", "9464",
                          "127.0.0.1", "127.0.0.1:99999", "unix:relative", ""})
    EXPECT_FALSE(CheckStatusAddress(bad)) << bad;
  for (const char* good : {"127.0.0.1:9464", "[::1]:1", "unix:/run/writ/metrics.sock"})
    EXPECT_TRUE(CheckStatusAddress(good)) << good;
}

TEST(RunBoard, CountsWhatTheBusTellsInThePrometheusTextFormat) {
  SystemClock clock;
  RunBoard board(clock);
  EventBus bus;
  board.ListenTo(bus);
  const RunRef run{"run_1", 3};
  bus.Publish(LeaseSeen{run, LeaseWord::kHeld});
  bus.Publish(StepReached{run, Step::kClaimed, std::chrono::milliseconds(20),
                          std::chrono::milliseconds(400)});
  bus.Publish(BlobUploaded{run, 100, UploadWord::kSent});
  bus.Publish(BlobUploaded{run, 100, UploadWord::kKnown});
  EXPECT_EQ(board.Runs().array().at(0).FindString("lease"), "held");
  std::string text = board.metrics().Text();
  auto has = [&](std::string_view line) { return text.find(line) != std::string::npos; };
  EXPECT_TRUE(has("# TYPE writ_runner_step_seconds histogram\n"));
  EXPECT_TRUE(has("writ_runner_step_seconds_bucket{step=\"claimed\",le=\"0.005\"} 0\n"));
  EXPECT_TRUE(has("writ_runner_step_seconds_bucket{step=\"claimed\",le=\"0.025\"} 1\n"));
  EXPECT_TRUE(has("writ_runner_step_seconds_bucket{step=\"claimed\",le=\"+Inf\"} 1\n"));
  EXPECT_TRUE(has("writ_runner_queue_wait_seconds_sum 0.4\n"));
  EXPECT_TRUE(has("writ_runner_runs_active 1\n"));
  EXPECT_TRUE(has("writ_runner_leases_held 1\n"));
  EXPECT_TRUE(has("writ_runner_upload_bytes_total 100\n"));
  EXPECT_TRUE(has("writ_runner_uploads_total{result=\"known\"} 1\n"));
  bus.Publish(RunOver{run, {"failed", "session_failed", "", ""}, std::chrono::milliseconds(5)});
  text = board.metrics().Text();
  EXPECT_TRUE(has("writ_runner_runs_total{status=\"failed\",failure=\"session_failed\"} 1\n"));
  EXPECT_TRUE(has("writ_runner_runs_active 0\n"));
  EXPECT_TRUE(board.Runs().array().empty());
}

}  // namespace
}  // namespace writ::runner
