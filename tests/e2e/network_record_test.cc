// What the chain says of the network: the proxy's decisions in the order of what happened, bounded,
// and without a secret that a job asked for as a host name.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/fsuid.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <thread>

#include "e2e/support/runner_world.h"
#include "writ/base/encoding.h"
#include "writ/base/file.h"
#include "writ/protocol/bundle.h"

namespace writ {
namespace {

using test::Exited;
using test::FakeJobView;
using test::FakePlane;
using test::RunnerWorld;

// Asks the session's proxy, as the job's uid does, for one URL after the other; how many of them
// were answered 403.
class ProxyUser {
 public:
  explicit ProxyUser(const FakeJobView& job) : uid_(job.uid) {
    std::string url = job.env.at("HTTP_PROXY");  // http://NAME:TOKEN@127.0.0.1:PORT
    std::size_t at = url.rfind('@');
    std::size_t from = url.find("//") + 2;
    credentials_ = Base64Encode(url.substr(from, at - from));
    port_ = static_cast<std::uint16_t>(std::stoi(url.substr(url.rfind(':') + 1)));
  }
  int CountRefused(const std::vector<std::string>& hosts) const {
    int refused = 0;
    std::thread([&] {  // the file system uid is the thread's own, and a socket's owner
      if (uid_ != geteuid()) setfsuid(uid_);
      for (const std::string& host : hosts)
        refused += Ask(host).starts_with("HTTP/1.1 403") ? 1 : 0;
    })
        .join();
    return refused;
  }

 private:
  std::string Ask(const std::string& host) const {
    UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port_);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) return {};
    std::string request = "GET http://" + host + "/ HTTP/1.1\r\nHost: " + host +
                          "\r\nProxy-Authorization: Basic " + credentials_ +
                          "\r\nConnection: close\r\n\r\n";
    if (!WriteAll(fd.get(), request)) return {};
    return ReadAll(fd.get(), 1 << 20).value_or("");
  }
  uid_t uid_;
  std::string credentials_;
  std::uint16_t port_ = 0;
};

class NetworkRecord : public ::testing::Test {
 protected:
  NetworkRecord() : plane_(clock_, FakePlane::Dialect::kExtended), world_(plane_, clock_) {
    FakePlane::LoadRecordedBlobs(plane_);
  }
  protocol::Contract Draft() {
    protocol::Contract draft = plane_.Draft("run_net");
    protocol::Execution execution;
    execution.kind = protocol::Execution::Kind::kShell;
    execution.script = "true";
    draft.execution = std::move(execution);
    draft.network.allow_hosts = {protocol::AllowedHost::Parse("*.allowed.example.com").value()};
    return draft;
  }
  FakePlane::Run Finish(protocol::Contract draft,
                        std::vector<std::pair<std::string, std::string>> secrets = {}) {
    plane_.Add(std::move(draft), std::move(secrets));
    EXPECT_TRUE(world_.RunOne());
    FakePlane::Run run = plane_.Get("run_net");
    EXPECT_EQ(run.completions, 1);
    if (run.completions == 1) {
      protocol::VerifyReport report = protocol::VerifyBundleValue(plane_.Bundle("run_net"));
      EXPECT_TRUE(report.ok) << protocol::RenderText(report, "run_net");
    }
    return run;
  }
  static std::ptrdiff_t Count(const FakePlane::Run& run, std::string_view type) {
    return std::count_if(run.events.begin(), run.events.end(),
                         [&](const protocol::Event& event) { return event.type() == type; });
  }
  SystemClock clock_;
  FakePlane plane_;
  RunnerWorld world_;
};

TEST_F(NetworkRecord, HasTheProxysDecisionsBeforeTheExitOfTheJobThatCausedThem) {
  static constexpr int kHosts = 50;
  world_.AddFake([](FakeJobView& job) {
    std::vector<std::string> hosts;
    for (int i = 0; i < kHosts; ++i) hosts.push_back("h" + std::to_string(i) + ".example.com");
    EXPECT_EQ(ProxyUser(job).CountRefused(hosts), kHosts);
    return Exited(0);  // at once: the last decisions are still on their way
  });
  FakePlane::Run run = Finish(Draft());
  std::vector<std::string> order;
  for (const protocol::Event& event : run.events)
    if (event.type() == "network.connected" || event.type() == "command.executed" ||
        event.type() == "network.closed" || event.type() == "session.closed")
      order.emplace_back(event.type());
  std::vector<std::string> want(kHosts, "network.connected");
  for (const char* last : {"command.executed", "network.closed", "session.closed"})
    want.emplace_back(last);
  EXPECT_EQ(order, want);
  EXPECT_EQ(run.receipt.Find("networkAccessed")->array().size(), std::size_t{kHosts});
}

TEST_F(NetworkRecord, NamesAThousandRefusedHostsAndThenSaysOnceThatThereAreMore) {
  static constexpr int kHosts = 1100;
  world_.AddFake([](FakeJobView& job) {
    std::vector<std::string> hosts;
    for (int i = 0; i < kHosts; ++i) hosts.push_back("h" + std::to_string(i) + ".example.com");
    EXPECT_EQ(ProxyUser(job).CountRefused(hosts), kHosts);
    return Exited(0);
  });
  FakePlane::Run run = Finish(Draft());
  EXPECT_EQ(Count(run, "network.connected"), 1000);
  int said = 0;
  std::int64_t blocked = 0;
  for (const protocol::Event& event : run.events) {
    if (event.event.FindString("code") == "network.too_many_hosts") ++said;
    if (event.type() == "network.closed")
      blocked = event.event.Find("blocked")->AsInteger().value_or(-1);
  }
  EXPECT_EQ(said, 1);
  EXPECT_EQ(blocked, kHosts);  // all of them are counted
}

// L8, L9: host names are normalised to lower case before anybody records them.
TEST_F(NetworkRecord, HoldsNoSecretThatWasAskedForAsAHostName) {
  const std::string secret = "S3cr3t-Value-42";
  const std::string lower = "s3cr3t-value-42";
  world_.config.host_overrides.push_back({"s3cr3t-value-42.allowed.example.com", {"127.0.0.1"}});
  world_.config.address_grants = {"127.0.0.0/8"};
  world_.AddFake([&](FakeJobView& job) {
    // Refused by name, refused as no name at all, and allowed by the wildcard.
    (void)ProxyUser(job).CountRefused(
        {secret + ".evil.example.com", HexEncode(secret) + ".evil.example.com",
         Base64Encode(secret) + ".evil.example.com", secret + "%zz.evil.example.com",
         secret + ".allowed.example.com"});
    return Exited(0);
  });
  protocol::Contract draft = Draft();
  draft.secrets.push_back({protocol::SecretName::Parse("MOCK_SECRET").value(), "pool:default"});
  FakePlane::Run run = Finish(std::move(draft), {{"MOCK_SECRET", secret}});
  EXPECT_GE(Count(run, "network.flow"), 1);
  // Not the receipt's environment: the override above is the operator's own word.
  std::string told = json::Write(*run.receipt.Find("networkAccessed"));
  for (const protocol::Event& event : run.events) told += json::Write(event.ToJson());
  EXPECT_NE(told.find("[REDACTED:MOCK_SECRET].evil.example.com"), std::string::npos) << told;
  EXPECT_NE(told.find("[REDACTED:MOCK_SECRET].allowed.example.com"), std::string::npos) << told;
  std::transform(told.begin(), told.end(), told.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  EXPECT_EQ(told.find(lower), std::string::npos) << told;
  EXPECT_EQ(told.find(HexEncode(secret)), std::string::npos);
  std::string base64 = Base64Encode(secret);  // a multiple of three bytes: no padding
  std::transform(base64.begin(), base64.end(), base64.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  EXPECT_EQ(told.find(base64), std::string::npos);
}

}  // namespace
}  // namespace writ
