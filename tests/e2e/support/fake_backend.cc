#include "e2e/support/fake_backend.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "writ/base/file.h"

namespace writ::test {
namespace {

class FakeJob final : public backends::Job {
 public:
  FakeJob(FakeBackend& backend, FakeBackend::Agent& agent, backends::Plan plan)
      : backend_(backend), agent_(agent), plan_(std::move(plan)) {
    if (!std::holds_alternative<backends::ProxiedNetwork>(plan_.network)) return;
    listener_ = UniqueFd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 ||
        listen(listener_.get(), 16) != 0)
      std::abort();
    getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size);
    proxy_ = "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
  }
  ~FakeJob() override { (void)Dismantle(); }
  Result<UniqueFd> TakeProxyListener() override { return std::move(listener_); }
  std::string ProxyAddress() const override { return proxy_; }
  std::string HomePath() const override { return plan_.session_dir + "/home"; }
  std::string WorkspacePath() const override {
    if (const auto* plain = std::get_if<backends::PlainWorkspace>(&plan_.workspace))
      return plain->dir;
    return plan_.session_dir + "/view";
  }
  Status Start(backends::Environment late) override {
    if (!backend_.start_answer) return backend_.start_answer;
    if (const auto* layers = std::get_if<backends::WorkspaceMount>(&plan_.workspace))
      Mount(*layers);
    for (const backends::Environment* layer : {&plan_.env, &late}) {
      for (const backends::Variable& v : layer->vars) env_[v.name] = v.value;
      for (const backends::SecretVariable& v : layer->secrets)
        env_[v.name] = std::string(v.value.Reveal());
    }
    return {};
  }
  backends::Outcome Watch(backends::OutputSink& sink,
                          const backends::WatchOptions& options) override {
    FakeJobView view{WorkspacePath(),    plan_.argv,      env_,        &sink, options.stop,
                     plan_.identity.uid, plan_.stderr_to, plan_.limits};
    return agent_(view);
  }
  backends::Dismantled Dismantle() override {
    if (!std::exchange(dismantled_, true)) ++backend_.dismantled;
    if (mounted_) (void)umount2(WorkspacePath().c_str(), MNT_DETACH);
    return backends::Dismantled{true, backend_.leaks, {}};
  }

 private:
  void Mount(const backends::WorkspaceMount& layers) {
    const std::string options = "lowerdir=" + layers.lower + ",upperdir=" + layers.upper +
                                ",workdir=" + layers.work +
                                ",redirect_dir=nofollow,metacopy=off,index=off,xino=off";
    mounted_ = unshare(CLONE_NEWNS) == 0 &&
               mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
               mkdir(WorkspacePath().c_str(), 0755) == 0 &&
               mount("overlay", WorkspacePath().c_str(), "overlay", 0, options.c_str()) == 0;
    if (!mounted_) std::abort();
  }
  FakeBackend& backend_;
  FakeBackend::Agent& agent_;
  backends::Plan plan_;
  UniqueFd listener_;
  std::string proxy_;
  std::map<std::string, std::string> env_;
  bool dismantled_ = false, mounted_ = false;
};

}  // namespace

void FakeJobView::Print(std::string_view text) const {
  sink->OnOutput(backends::Stream::kStdout, text, std::chrono::nanoseconds(1));
}

void FakeJobView::Write(const std::string& path, std::string_view bytes) const {
  UniqueFd fd(
      open((workspace + "/" + path).c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!fd.valid() || !WriteAll(fd.get(), bytes) || fchown(fd.get(), uid, uid) != 0) std::abort();
}

FakeBackend::FakeBackend(Agent agent, backends::Tier tier, std::string name)
    : agent_(std::move(agent)), tier_(tier), name_(std::move(name)) {
  if (name_.empty())
    name_ = tier_ == backends::Tier::kProcess ? "fake" : std::string(backends::TierName(tier_));
}

const backends::Capabilities& FakeBackend::Probe() {
  std::lock_guard lock(mutex_);
  const bool can = usable;
  const backends::OverlayWorkspace how = overlay;
  auto [it, made] = capabilities_.try_emplace({can, how});
  if (made) {
    backends::Capabilities& fresh = it->second;
    fresh.tier = tier_;
    fresh.backend = name_;
    fresh.version = "test";
    fresh.overlay_workspace = how;
    if (how == backends::OverlayWorkspace::kNone) fresh.no_overlay_reason = "the test says so";
    fresh.usable = can;
    fresh.unusable_reason = can ? "" : "the test says so";
    fresh.unusable_mend = can ? "" : "change the test";
    for (auto* aspect :
         {&fresh.files, &fresh.network, &fresh.syscalls, &fresh.resources, &fresh.processes})
      *aspect = {backends::Enforcement::kNone, "", "a fake", ""};
    fresh.network = {backends::Enforcement::kKernel, "a fake", "", ""};  // or nothing is offered
  }
  return it->second;
}

Status FakeBackend::Check(const backends::Plan& plan) {
  return backends::ValidatePlan(plan);
}

Result<std::unique_ptr<backends::Job>> FakeBackend::Prepare(backends::Plan plan) {
  ++prepared;
  return std::unique_ptr<backends::Job>(std::make_unique<FakeJob>(*this, agent_, std::move(plan)));
}

Result<backends::Recovered> FakeBackend::Recover(const backends::LeftJob&,
                                                 std::chrono::milliseconds) {
  ++recovered;
  return backends::Recovered{std::nullopt, backends::Dismantled{left.empty(), left, {}}, left_uid};
}

backends::Outcome Exited(int code) {
  backends::Outcome outcome;
  outcome.kind = backends::Outcome::Kind::kExited;
  outcome.status = ExitStatus{false, code, 0};
  outcome.duration = std::chrono::milliseconds(1);
  return outcome;
}

}  // namespace writ::test
