#include "e2e/support/runner_world.h"
#include "support/places.h"
#include "writ/base/file.h"
#include "writ/base/unique_fd.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>

namespace writ::test {

ShiftedClock ShiftedClock::At(std::string_view rfc3339) {
  return ShiftedClock(*ParseRfc3339(rfc3339) - SystemClock().Now());
}

void RecordingObserver::OnStep(const std::string&, runner::Step step) {
  std::lock_guard lock(mutex_);
  steps_ += (steps_.empty() ? "" : " ") + std::string(runner::StepName(step));
}
void RecordingObserver::OnOutput(const std::string&, std::string_view redacted) {
  std::lock_guard lock(mutex_);
  output_ += redacted;
}
void RecordingObserver::OnEnd(const std::string&, const runner::RunEnd& end) {
  std::lock_guard lock(mutex_);
  end_ = end;
}
std::string RecordingObserver::steps() const {
  std::lock_guard lock(mutex_);
  return steps_;
}
std::string RecordingObserver::output() const {
  std::lock_guard lock(mutex_);
  return output_;
}
runner::RunEnd RecordingObserver::end() const {
  std::lock_guard lock(mutex_);
  return end_;
}

std::string AskRunner(const std::string& state_dir, const std::string& path) {
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string name = state_dir + "/status.sock";
  if (name.size() >= sizeof address.sun_path) return "";
  name.copy(address.sun_path, name.size());
  if (connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) return "";
  const std::string request = "GET " + path + " HTTP/1.1\r\nHost: localhost\r\n\r\n";
  if (send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL) < 0) return "";
  return ReadAll(fd.get(), 1 << 20).value_or("");
}

RunnerWorld::RunnerWorld(FakePlane& plane, const Clock& clock) : clock_(clock) {
  std::string pattern = (std::filesystem::temp_directory_path() / "writ-e2e-XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr) std::abort();
  root_ = pattern;
  chmod(root_.c_str(), 0711);
  config.state_dir = root_ + "/state";
  config.work_dir = root_ + "/work";
  config.plane.url = plane.url();
  config.plane_key_pem = plane.key().Public().ToPem();
  if (geteuid() == 0) config.uid_range = runner::UidRange{210000, 16};
  config.egress_proxy = writ::test::BinDir() + "/writ-egress-proxy";
  config.launcher = writ::test::BinDir() + "/writ-launch";
  // A copy where job uids can reach it: the build tree may lie below somebody's private folder.
  std::error_code absent;
  std::filesystem::create_directory(root_ + "/agent");
  std::filesystem::copy_file(writ::test::BinDir() + "/writ-mock-agent",
                             root_ + "/agent/writ-mock-agent", absent);
  config.mock_agent = root_ + "/agent/writ-mock-agent";
  config.limits.min_free_disk_bytes = 0;
  config.poll_interval = std::chrono::milliseconds(20);
  config.long_poll = std::chrono::milliseconds(0);
  config.call_timeout = std::chrono::milliseconds(10'000);
  config.heartbeat = std::chrono::milliseconds(100);
}

RunnerWorld::~RunnerWorld() {
  engine_.reset();
  std::error_code ignored;
  std::filesystem::remove_all(root_, ignored);
}

FakeBackend& RunnerWorld::AddFake(FakeBackend::Agent agent, backends::Tier tier, std::string name) {
  auto backend = std::make_unique<FakeBackend>(std::move(agent), tier, std::move(name));
  FakeBackend& reference = *backend;
  if (!registry.Add(std::move(backend))) std::abort();
  return reference;
}

runner::Engine& RunnerWorld::Open() {
  if (engine_) return *engine_;
  Result<runner::Identity> identity =
      runner::Enroll(config, Secret("testkit-enroll-token"), clock_);
  if (!identity) {
    std::fprintf(stderr, "%s\n", identity.error().ToString().c_str());
    std::abort();
  }
  Result<std::unique_ptr<runner::Engine>> engine =
      runner::Engine::Create(config, std::move(*identity), registry, clock_, &observer);
  if (!engine) {
    std::fprintf(stderr, "%s\n", engine.error().ToString().c_str());
    std::abort();
  }
  engine_ = std::move(*engine);
  return *engine_;
}

Result<std::optional<std::string>> RunnerWorld::RunOne() {
  runner::Engine& engine = Open();
  auto ran = engine.RunOnce(std::chrono::milliseconds(2000));
  engine.Wait();
  return ran;
}

std::vector<std::string> RunnerWorld::Sessions() const {
  std::vector<std::string> names;
  for (const char* folder : {"/sessions", "/trash"})
    for (const auto& entry : std::filesystem::directory_iterator(config.work_dir + folder))
      names.push_back(entry.path().filename());
  return names;
}

}  // namespace writ::test
