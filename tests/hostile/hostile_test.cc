// One table: attacks x tiers. Every attack is first run with the guard off - a plain child of the
// same uid on the same host - and has to get through; then as a job, where it has to be refused.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <thread>
#include <tuple>

#include "conformance/job_fixture.h"
#include "hostile/host_targets.h"
#include "support/places.h"
#include "writ/backends/process_backend.h"
#include "writ/base/child.h"

namespace writ::test {
namespace {

using backends::Outcome;
using std::chrono::seconds;
using testing::IsEmpty;

// What the same attempt does with the guard off.
enum class Unguarded {
  kGetsThrough,
  // The kernel refuses an ordinary uid by itself, so the guard shows in another way: the
  // supervisor's record, or the signal of the filter.
  kRefusedByKernel,
};
enum class GuardShows { kByRefusal, kByRecord, kBySignal };
enum class Who { kAnyRunner, kRootRunner };

struct Row {
  const char* attack;
  Unguarded unguarded = Unguarded::kGetsThrough;
  GuardShows shows = GuardShows::kByRefusal;
  Who who = Who::kAnyRunner;
  int landlock_abi = 0;        // needs at least this
  bool at_supervisor = false;  // the job's victim is its own supervisor
};

// What a job with namespaces of its own may do, because it reaches nothing but itself: the attempt
// may go through, and still nothing arrives outside.
constexpr const char* kItsOwnInNamespaces[] = {
    "listen",   "listen-without-bind", "sysv-shm",     "sysv-sem",
    "sysv-msg", "write-tmp",           "write-dev-shm"};
// Attempts that end at the job's own loopback: refused by the kernel, with nothing to be recorded.
constexpr const char* kUnrecordedInNamespaces[] = {
    "tcp-other-address", "tcp-other-port",  "tcp-nonblocking", "duplicated-socket",
    "child-connects",    "thread-connects", "rewrite-address", "disconnect-and-reconnect"};

// Called by gtest where it prints a parameter.
void PrintTo(const Row& row, std::ostream* out) {
  *out << row.attack;
}

constexpr auto kRecord = GuardShows::kByRecord;
constexpr auto kThrough = Unguarded::kGetsThrough;

constexpr Row kRows[] = {
    // The four known ways round a port rule, and their relatives (L25, L26).
    {"tcp-other-address", kThrough, kRecord},
    {"mptcp", kThrough, kRecord},
    {"fastopen-sendto"},
    {"unix-path"},
    {"tcp-other-port", kThrough, kRecord},
    {"tcp-nonblocking", kThrough, kRecord},
    {"fastopen-sendmsg"},
    {"fastopen-sendmmsg"},
    {"fastopen-high-bits"},
    {"fastopen-option"},
    {"fastopen-option-high-bits"},
    {"ip-options"},
    {"ip-options-high-bits"},
    {"ipv6"},
    {"disconnect-and-reconnect", kThrough, kRecord},
    {"duplicated-socket", kThrough, kRecord},
    {"child-connects", kThrough, kRecord},
    {"thread-connects", kThrough, kRecord},
    {"rewrite-address", kThrough, kRecord},
    {"listen", kThrough, kRecord},
    {"listen-without-bind"},
    {"own-listener"},
    // Other sockets (L24).
    {"unix-abstract"},
    {"unix-high-bits"},
    {"unix-datagram"},
    {"socketpair-datagram"},
    {"socketpair-high-bits"},
    {"udp-dns", kThrough, kRecord},
    {"udp-lite", kThrough, kRecord},
    {"udp-high-bits", kThrough, kRecord},
    {"udp6"},
    {"raw", Unguarded::kRefusedByKernel, kRecord},
    {"raw-icmp", Unguarded::kRefusedByKernel, kRecord},
    {"packet", Unguarded::kRefusedByKernel, kRecord},
    {"vsock", kThrough, kRecord},
    {"alg", kThrough, kRecord},
    {"netlink-uevent", kThrough, kRecord},
    {"netlink-user", kThrough, kRecord},
    {"netlink-diag", kThrough, kRecord},
    {"sctp", kThrough, kRecord},
    {"io-uring"},
    {"inherited-socket"},
    // Other processes of the same uid, then the supervisor.
    {.attack = "signal", .landlock_abi = 6},
    {.attack = "signal-pidfd", .landlock_abi = 6},
    {"ptrace"},
    {"proc-environ"},
    {"proc-mem"},
    {"proc-maps"},
    {"proc-fd"},
    {"proc-root"},
    {"pidfd-getfd"},
    {"process-vm-readv"},
    {"prlimit"},
    {.attack = "signal", .landlock_abi = 6, .at_supervisor = true},
    {.attack = "signal-pidfd", .landlock_abi = 6, .at_supervisor = true},
    {.attack = "ptrace", .at_supervisor = true},
    {.attack = "proc-environ", .at_supervisor = true},
    {.attack = "proc-mem", .at_supervisor = true},
    {.attack = "proc-fd", .at_supervisor = true},
    {.attack = "pidfd-getfd", .at_supervisor = true},
    {.attack = "prlimit", .at_supervisor = true},
    {.attack = "setuid-program", .who = Who::kRootRunner},
    {"regain-root", Unguarded::kRefusedByKernel},
    // The kernel's larger surfaces, and what would outlive the job.
    {"user-namespace"},
    {"clone-namespace"},
    {"clone3-namespace"},
    {"userfaultfd"},
    {"add-key"},
    {"sysv-shm"},
    {"sysv-sem"},
    {"sysv-msg"},
    {"posix-mq"},
    {"kcmp"},
    {"name-to-handle"},
    {"unknown-syscall"},
    {"int80", kThrough, GuardShows::kBySignal},
    {"x32", Unguarded::kRefusedByKernel, GuardShows::kBySignal},
    // Files that the uid may have but the job may not (L13).
    {.attack = "read-key", .landlock_abi = 1},
    {.attack = "read-key-by-handle", .landlock_abi = 1},
    {.attack = "read-key-through-link", .landlock_abi = 1},
    {.attack = "read-key-from-cwd", .landlock_abi = 1},
    {.attack = "list-outside", .landlock_abi = 1},
    {.attack = "write-outside", .landlock_abi = 1},
    {.attack = "overwrite-outside", .landlock_abi = 1},
    {.attack = "write-through-link", .landlock_abi = 1},
    {.attack = "truncate-outside", .landlock_abi = 3},
    {.attack = "hard-link-in", .landlock_abi = 1},
    {.attack = "move-in", .landlock_abi = 1},
    {.attack = "move-out", .landlock_abi = 1},
    {.attack = "remove-outside", .landlock_abi = 1},
    {.attack = "mkdir-outside", .landlock_abi = 1},
    {.attack = "mknod-outside", .landlock_abi = 1},
    {.attack = "write-tmp", .landlock_abi = 1},
    {.attack = "write-dev-shm", .landlock_abi = 1},
    {.attack = "execute-outside", .landlock_abi = 1},
};

int LandlockAbiOf(const backends::Capabilities& capabilities) {
  const std::string prefix = "landlock abi ";
  const std::string& mechanism = capabilities.files.mechanism;
  const auto at = mechanism.find(prefix);
  return at != std::string::npos ? std::atoi(mechanism.c_str() + at + prefix.size()) : 0;
}

int PortOf(const std::string& address) {
  return std::atoi(address.c_str() + address.rfind(':') + 1);
}

// Empty where somebody of the host is there already: as good.
UniqueFd ListenAt(int port) {
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int one = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  at.sin_port = htons(static_cast<std::uint16_t>(port));
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&at), sizeof at) != 0 ||
      ::listen(fd.get(), 16) != 0)
    return {};
  return fd;
}

// Takes and closes what comes, so that the listener's queue never fills.
class AcceptAll {
 public:
  explicit AcceptAll(int listener)
      : thread_([listener](const std::stop_token& stop) {
          while (!stop.stop_requested()) {
            pollfd ready{listener, POLLIN, 0};
            if (::poll(&ready, 1, 50) > 0)
              UniqueFd(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
          }
        }) {}

 private:
  std::jthread thread_;
};

class Hostile : public testing::TestWithParam<std::tuple<std::string, Row>> {
 protected:
  void SetUp() override {
    if (std::string why = WhyNoJobs(std::get<0>(GetParam())); !why.empty()) GTEST_SKIP() << why;
    row_ = std::get<1>(GetParam());
    backend_ = MakeBackend(std::get<0>(GetParam()));
    job_.Use(*backend_);
    namespaces_ = backend_->GetTier() != backends::Tier::kProcess;
    const backends::Capabilities& capabilities = backend_->Probe();
    if (capabilities.network.enforcement != backends::Enforcement::kKernel)
      GTEST_SKIP() << "the network is not held by the kernel here: " << capabilities.network.reason;
    if (row_.landlock_abi > LandlockAbiOf(capabilities))
      GTEST_SKIP() << "needs Landlock ABI " << row_.landlock_abi;
    if (row_.who == Who::kRootRunner && ::geteuid() != 0)
      GTEST_SKIP() << "needs a runner that is root";
  }

  // The attempt with the guard off.
  int RunUnguarded(const HostTargets& targets) {
    SpawnOptions options;
    options.path = job_.workspace() + "/hostile";
    options.argv = {"hostile"};
    if (::geteuid() == 0) {
      for (std::string word : {std::string("--as"), std::to_string(job_.identity().uid),
                               std::to_string(job_.identity().gid)})
        options.argv.push_back(std::move(word));
    }
    options.argv.push_back(row_.attack);
    for (const backends::Variable& v : targets.Variables())
      options.env.push_back(v.name + "=" + v.value);
    options.cwd = job_.workspace();
    auto pair = MakeSeqpacketPair();
    if (pair) options.fds = {{pair->first.get(), 9}};  // something to inherit
    auto child = Child::Spawn(options);
    if (!child) return -1;
    auto status = child->Wait(seconds(60));
    return status && *status ? (*status)->ShellCode() : -1;
  }

  JobFixture job_;
  std::string program_ = job_.Install("hostile");
  bool Among(const auto& names) const {
    return namespaces_ && std::any_of(std::begin(names), std::end(names), [this](const char* name) {
             return std::string_view(name) == row_.attack;
           });
  }
  bool namespaces_ = false;
  Row row_{};
  std::unique_ptr<backends::Backend> backend_;
};

TEST_P(Hostile, GetsThroughUnguardedAndIsRefusedAsAJob) {
  backends::Plan plan = job_.MakePlan({program_, row_.attack});
  plan.network = backends::ProxiedNetwork{};
  if (row_.who == Who::kRootRunner) {
    plan.read_only_trees = {job_.base() + "/setuid"};
    ASSERT_EQ(::mkdir((job_.base() + "/setuid").c_str(), 0755), 0);
  }
  auto job = backend_->Prepare(std::move(plan));
  ASSERT_TRUE(job) << job.error().ToString();
  auto proxy = (*job)->TakeProxyListener();
  ASSERT_TRUE(proxy);
  const std::string address = (*job)->ProxyAddress();
  HostTargets targets(job_, PortOf(address));

  const AcceptAll proxy_accepts(proxy->get());

  // Outside, something has to be where the job's proxy is inside.
  const UniqueFd stand_in = namespaces_ ? ListenAt(PortOf(address)) : UniqueFd();
  const AcceptAll stand_in_accepts(stand_in.get());

  const int unguarded = RunUnguarded(targets);
  if (unguarded == 2) GTEST_SKIP() << "this host lacks what the attempt needs";
  ASSERT_EQ(unguarded, row_.unguarded == Unguarded::kGetsThrough ? 0 : 1)
      << "the attack shows nothing: it ends without a guard in another way than it should";
  targets.Arrived();
  targets.ResetOutside();

  backends::Environment late;
  late.vars = targets.Variables(row_.at_supervisor ? "parent" : "");
  late.vars.push_back({"GUARDED", "1"});
  ASSERT_TRUE((*job)->Start(std::move(late)));
  JobRun run;
  Collector sink(run);
  backends::WatchOptions options;
  Outcome outcome = (*job)->Watch(sink, options);
  backends::Dismantled dismantled = (*job)->Dismantle();

  ASSERT_TRUE(outcome.status) << outcome.reason;
  if (row_.shows == GuardShows::kBySignal) {
    EXPECT_EQ(outcome.kind, Outcome::Kind::kViolated) << outcome.reason;
  } else if (!Among(kItsOwnInNamespaces)) {
    EXPECT_EQ(outcome.status->ShellCode(), 1) << outcome.reason << run.out << run.err;
  }
  if (row_.shows == GuardShows::kByRecord && !Among(kItsOwnInNamespaces) &&
      !Among(kUnrecordedInNamespaces)) {  // L25: recorded with program and address
    ASSERT_FALSE(outcome.refused.empty());
    EXPECT_EQ(outcome.refused.front().program, "hostile");
    EXPECT_FALSE(outcome.refused.front().address.empty());
    EXPECT_GE(outcome.refused_total, outcome.refused.size());
  }
  EXPECT_LT(outcome.duration, seconds(10));  // fails fast, does not hang
  EXPECT_THAT(targets.Arrived(), IsEmpty());
  EXPECT_THAT(targets.OutsideChanges(), IsEmpty());
  EXPECT_TRUE(dismantled.tree_dead_verified);
}

std::string NameOf(const testing::TestParamInfo<Hostile::ParamType>& tested) {
  const Row& row = std::get<1>(tested.param);
  std::string name =
      std::get<0>(tested.param) + "_" + row.attack + (row.at_supervisor ? "_at_supervisor" : "");
  for (char& c : name) {
    if (c == '-') c = '_';
  }
  return name;
}

INSTANTIATE_TEST_SUITE_P(Table, Hostile,
                         testing::Combine(testing::Values("process", "sandbox", "container"),
                                          testing::ValuesIn(kRows)),
                         NameOf);

// What must go on working beside all that.
class Allowed : public testing::Test {
 protected:
  void SetUp() override {
    if (std::string why = WhyNoJobs(); !why.empty()) GTEST_SKIP() << why;
    backend_ = MakeBackend("process");
  }
  JobFixture job_;
  std::unique_ptr<backends::Backend> backend_;
};

TEST_F(Allowed, ReachesTheProxyAndIsCounted) {
  backends::Plan plan = job_.MakePlan(
      {"bash", "-c",
       "exec 3<>/dev/tcp/127.0.0.1/$PORT && echo hello >&3 && read -r answer <&3 && echo $answer"});
  plan.network = backends::ProxiedNetwork{};
  auto job = backend_->Prepare(std::move(plan));
  ASSERT_TRUE(job) << job.error().ToString();
  auto listener = (*job)->TakeProxyListener();
  ASSERT_TRUE(listener);
  const std::string address = (*job)->ProxyAddress();
  backends::Environment late;
  late.vars = {{"PORT", address.substr(address.rfind(':') + 1)}};
  ASSERT_TRUE((*job)->Start(std::move(late)));
  JobRun run;
  Collector sink(run);
  std::jthread proxy([fd = listener->get()] {
    pollfd ready{fd, POLLIN, 0};
    ::poll(&ready, 1, 10000);
    UniqueFd peer(::accept4(fd, nullptr, nullptr, SOCK_CLOEXEC));
    char line[16];
    if (::read(peer.get(), line, sizeof line) == 6) (void)!::write(peer.get(), "welcome\n", 8);
  });
  Outcome outcome = (*job)->Watch(sink, {});
  EXPECT_EQ(run.out, "welcome\n") << run.err;
  EXPECT_EQ(outcome.proxied_total, 1u);
  EXPECT_EQ(outcome.refused_total, 0u);
}

TEST_F(Allowed, RefusesEvenTheProxyPortWhereThePlanHasNoNetwork) {
  JobRun run = job_.Run(
      *backend_, job_.MakePlan({"bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/9 && echo through"}));
  EXPECT_EQ(run.out, "");
  ASSERT_EQ(run.outcome.refused.size(), 1u);
  EXPECT_EQ(run.outcome.refused.front().address, "127.0.0.1:9");
  EXPECT_EQ(run.outcome.refused.front().reason, "this job has no network");
}

TEST_F(Allowed, ListsInterfacesOverNetlinkRoute) {
  if (::access("/usr/bin/perl", X_OK) != 0) GTEST_SKIP() << "perl is not here";
  // bind, send and receive on NETLINK_ROUTE, as getifaddrs does
  const char* script =
      "socket(S, 16, 3, 0) or die $!; bind(S, pack('SSLL', 16, 0, 0, 0)) or die $!; "
      "send(S, pack('LSSLLCx3', 20, 18, 0x301, 1, 0, 0), 0) or die $!; recv(S, $b, 65536, 0); "
      "print length($b) > 20 ? 'ok' : 'no'";
  JobRun run = job_.Run(*backend_, job_.MakePlan({"perl", "-e", script}));
  EXPECT_EQ(run.out, "ok") << run.err;
}

TEST_F(Allowed, FailsNameLookupsFastWithoutAResolver) {  // L24
  JobRun run = job_.Run(*backend_, job_.MakePlan({"getent", "hosts", "name.example.com"}));
  EXPECT_EQ(run.out, "");
  ASSERT_TRUE(run.outcome.status);
  EXPECT_NE(run.outcome.status->ShellCode(), 0);
  EXPECT_LT(run.outcome.duration, seconds(3));
}

TEST_F(Allowed, RefusesAnUnsupervisedNetworkUnlessGranted) {  // L4
  auto without = backends::MakeProcessBackend(
      {.launcher = writ::test::BinDir() + "/writ-launch",
       .user_notification = backends::ProcessBackendOptions::UserNotification::kAssumeAbsent});
  EXPECT_EQ(without->Probe().network.enforcement, backends::Enforcement::kAdvisory);
  EXPECT_FALSE(without->Probe().network.reason.empty());
  Status refused = without->Check(job_.Shell("true"));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kUnsupported);
  backends::Plan granted = job_.Shell("echo ran");
  granted.require.advisory_network = backends::AdvisoryNetworkGrant{"operator.yaml: lab machines"};
  JobRun run = job_.Run(*without, std::move(granted));
  EXPECT_EQ(run.out, "ran\n");
}

}  // namespace
}  // namespace writ::test
