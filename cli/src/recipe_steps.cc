#include "recipe_steps.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <mutex>
#include <utility>

#include "duration.h"
#include "embedded.h"
#include "home.h"
#include "interrupts.h"
#include "writ/backends/microvm/guest_layout.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"
#include "writ/plane/init.h"
#include "writ/workspace/empty_workspace.h"

namespace writ::cli {
namespace {

namespace microvm = backends::microvm;

constexpr std::uint64_t kMaxLayerBytes = 1ull << 30;  // as the runner takes of one output file
constexpr std::size_t kKept = 4096;
constexpr std::chrono::milliseconds kWait{500};
constexpr double kMsPerMinute = 60'000.0;

// The step's output, as it comes; its end is kept for an error.
class StepOutput final : public runner::RunObserver {
 public:
  explicit StepOutput(const Context& context) : context_(context) {}
  void OnStep(const std::string&, runner::Step) override {}
  void OnOutput(const std::string&, std::string_view redacted) override {
    std::lock_guard lock(mutex_);
    last_.append(redacted);
    if (last_.size() > kKept) last_.erase(0, last_.size() - kKept);
    line_.append(redacted);
    for (std::size_t end = line_.find('\n'); end != std::string::npos; end = line_.find('\n')) {
      context_.Note("  | " + TerminalSafe(std::string_view(line_).substr(0, end)));
      line_.erase(0, end + 1);
    }
    if (line_.size() > kKept) line_.clear();
  }
  void OnEnd(const std::string&, const runner::RunEnd& end) override {
    std::lock_guard lock(mutex_);
    end_ = end;
  }
  // Why it did not end well.
  Error Why(const std::string& run_id) const {
    std::lock_guard lock(mutex_);
    std::string text = last_;
    while (text.ends_with('\n')) text.pop_back();
    const std::string said = text.substr(text.rfind('\n') + 1);
    Error error{ErrorKind::kUnavailable, "recipe.run_failed",
                "the command did not end well: " +
                    (end_.message.empty() ? std::string("its run has failed") : end_.message),
                end_.hint};
    if (!said.empty()) error.message += "; it said: " + TerminalSafe(said);
    if (error.hint.empty()) error.hint = "`writ receipt " + run_id + "` tells how it ran";
    return error;
  }

 private:
  const Context& context_;
  mutable std::mutex mutex_;  // guards the rest
  std::string last_;
  std::string line_;
  runner::RunEnd end_;
};

}  // namespace

Status RecipeSteps::Check(const RecipeStepOptions& options) {
  if (!options.memory.empty() && !ParseSize(options.memory))
    return Error{ErrorKind::kInvalid, "cli.bad_size", "--memory is not a size",
                 "write it like 512M or 4G"};
  if (!ParseDuration(options.timeout))
    return Error{ErrorKind::kInvalid, "cli.bad_duration", "--timeout is not a duration",
                 "write it like 90s, 10m or 1h30m; 366d is the most"};
  return {};
}

Status RecipeSteps::Open() {
  if (requester_) return {};
  auto made = plane::Init(context_.dir);
  if (!made) return ExplainDirError(std::move(made).error(), context_.dir);
  WRIT_ASSIGN(requester_, access_.Open(context_));
  return {};
}

Result<std::string> RecipeSteps::Submit(const microvm::StepOrder& order) {
  WRIT_ASSIGN(const workspace::Captured empty,
              workspace::EmptyWorkspace(std::string("/") + microvm::kLayerName));
  for (const workspace::CapturedBlob& blob : empty.blobs)
    WRIT_TRY(requester_->PutBlob(blob.content, blob.digest.ToHex()));
  json::Object execution{{"kind", "argv"},
                         {"command", "/bin/sh"},
                         {"args", json::Value::Texts({"-c", order.command})},
                         {"artifacts", json::Value::Texts({microvm::kLayerName})},
                         {"image", order.image}};
  if (!options_.memory.empty())
    execution.Set("limits", json::Object{{"memoryBytes", *ParseSize(options_.memory)}});
  const double minutes =
      static_cast<double>(ParseDuration(options_.timeout)->count()) / kMsPerMinute;
  json::Object request{
      {"agentKind", "command"},
      {"secretNames", json::Array{}},
      {"network",
       json::Object{{"defaultDeny", true}, {"allowHosts", json::Value::Texts(options_.hosts)}}},
      {"budget", json::Object{{"maxDurationMin", minutes}}},
      {"disclosure", "minimal-context"},
      {"workspace", empty.manifest.ToJson()},
      {"pool", "default"},
      {"isolation", "microvm"},
      {"execution", std::move(execution)},
      {"prompt", order.command}};
  WRIT_ASSIGN(const plane::Submission answer,
              requester_->Submit(json::Write(json::Object{{"request", std::move(request)}})));
  if (answer.kind != plane::Submission::Kind::kAccepted) {
    const auto& reasons = answer.reasons.empty() ? answer.issues : answer.reasons;
    return Error{ErrorKind::kDenied, "policy_denied",
                 "the plane refused the step: " + (reasons.empty() ? "" : reasons.front()),
                 "see the policy with: " + context_.Command("policy show")};
  }
  if (answer.status == plane::RunState::kAwaitingApproval) {
    (void)requester_->Cancel(answer.run_id, std::nullopt);
    return Error{ErrorKind::kDenied, "recipe.approval",
                 "the policy wants each step to be approved, which a build cannot wait for",
                 "allow runs on microvm in the policy: " + context_.Command("policy show")};
  }
  return answer.run_id;
}

Status RecipeSteps::Follow(const std::string& run_id, const std::string& work_dir) {
  StepOutput output(context_);
  auto embedded = Embedded::Start({.dir = context_.dir,
                                   .pool = "default",
                                   .only_run = run_id,
                                   .observer = &output,
                                   .steps_dir = work_dir},
                                  *access_.plane(), access_.clock());
  if (!embedded) {
    (void)requester_->Cancel(run_id, std::nullopt);
    return std::move(embedded).error();
  }
  const Interrupts interrupts;
  bool cancelled = false;
  WallTime seen{};
  for (;;) {
    WRIT_ASSIGN(const plane::RunDetail detail, requester_->WaitRun(run_id, seen, kWait));
    seen = detail.summary.updated_at;
    if (interrupts.Any() && !std::exchange(cancelled, true)) (*embedded)->Cancel();
    if (auto trouble = (*embedded)->Trouble()) return *trouble;
    if (!plane::IsTerminal(detail.summary.status)) continue;
    if (detail.summary.status == plane::RunState::kCompleted) return {};
    if (cancelled)
      return Error{ErrorKind::kCancelled, "recipe.cancelled", "the build was cancelled"};
    return output.Why(run_id);
  }
}

Result<microvm::StepDone> RecipeSteps::Collect(const std::string& run_id) {
  WRIT_ASSIGN(const auto artifacts, requester_->Artifacts(run_id));
  microvm::StepDone done;
  done.run_id = run_id;
  WRIT_ASSIGN(done.bundle, requester_->Bundle(run_id));
  std::string hash;
  for (const plane::ArtifactInfo& one : artifacts.value_or(std::vector<plane::ArtifactInfo>{}))
    if (one.path == microvm::kLayerName) hash = one.hash;
  auto digest = protocol::Digest::Parse(hash);
  if (!digest)
    return Error{ErrorKind::kUnavailable, "recipe.no_layer",
                 "what the step has changed did not come out",
                 "a step may change up to 1 GiB; `writ receipt " + run_id + "` tells more"};
  done.layer_digest = *digest;
  WRIT_ASSIGN(const std::string bytes, requester_->GetBlob(hash, kMaxLayerBytes));
  WRIT_ASSIGN(microvm::BuildStage stage, microvm::BuildStage::Make());
  stage_.reset();
  const std::string& place = stage_.emplace(std::move(stage)).path();
  WRIT_ASSIGN(UniqueFd dir, OpenDirectory(place));
  WRIT_TRY(WriteFileAtomic(dir.get(), microvm::kLayerName, bytes, 0600));
  done.layer = place + "/" + microvm::kLayerName;
  return done;
}

Result<microvm::StepDone> RecipeSteps::Run(const microvm::StepOrder& order) {
  WRIT_TRY(Open());
  WRIT_ASSIGN(const std::string run_id, Submit(order));
  context_.Note("  run " + run_id);
  WRIT_TRY(Follow(run_id, order.work_dir));
  return Collect(run_id);
}

}  // namespace writ::cli
