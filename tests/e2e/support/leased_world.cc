#include "e2e/support/leased_world.h"

#include <chrono>
#include <thread>

#include "writ/base/file.h"
#include "writ/protocol/bundle.h"
#include "writ/runner/journal.h"

namespace writ::test {

namespace {
constexpr std::chrono::seconds kBound{20};
}

bool JobGate::Pass(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  ++started_;
  changed_.notify_all();
  return changed_.wait(lock, stop, [&] { return open_; });
}
void JobGate::Open() {
  std::lock_guard lock(mutex_);
  open_ = true;
  changed_.notify_all();
}
void JobGate::Close() {
  std::lock_guard lock(mutex_);
  open_ = false;
}
bool JobGate::WaitForStart(int jobs) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, kBound, [&] { return started_ >= jobs; });
}

bool Eventually(const std::function<bool()>& so) {
  const auto end = std::chrono::steady_clock::now() + kBound;
  while (!so()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

LeasedWorld::LeasedWorld() : plane_(clock_, FakePlane::Dialect::kLeased), world_(plane_, clock_) {
  FakePlane::LoadRecordedBlobs(plane_);
  world_.config.long_poll = std::chrono::milliseconds(50);
}

protocol::Contract LeasedWorld::Draft(const std::string& run_id) {
  return plane_.DraftOfTrue(run_id);
}

FakeBackend& LeasedWorld::AddWaitingAgent() {
  return world_.AddFake([this](FakeJobView& job) {
    if (gate_.Pass(job.stop)) return Exited(0);
    backends::Outcome outcome;
    outcome.kind = backends::Outcome::Kind::kCancelled;
    return outcome;
  });
}

void LeasedWorld::ExpectOneGoodReceipt(const std::string& run_id, std::string_view status) {
  FakePlane::Run run = plane_.Get(run_id);
  ASSERT_EQ(run.completions, 1) << run_id;
  EXPECT_EQ(run.receipt.FindString("status"), status);
  protocol::VerifyReport report = protocol::VerifyBundleValue(plane_.Bundle(run_id));
  EXPECT_TRUE(report.ok) << protocol::RenderText(report, run_id);
  EXPECT_EQ(plane_.violations(), std::vector<std::string>());
}

std::string LeasedWorld::LastEvent(const std::string& run_id, std::string_view member) {
  FakePlane::Run run = plane_.Get(run_id);
  if (run.events.empty()) return "";
  return std::string(run.events.back().event.FindString(member).value_or(""));
}

bool LeasedWorld::HasFinding(const std::string& run_id, std::string_view code) {
  for (const protocol::Event& event : plane_.Get(run_id).events)
    if (event.type() == "finding" && event.event.FindString("code") == code) return true;
  return false;
}

std::string LeasedWorld::ParkedCode(const std::string& run_id) const {
  if (auto kept = runner::ListKeptReceipts(world_.config.state_dir)) {
    for (const runner::KeptReceipt& receipt : *kept)
      if (receipt.parked && receipt.run_id.text() == run_id) return receipt.code;
  }
  auto text = ReadFile(world_.config.state_dir + "/parked/" + run_id + ".why.json", 1 << 20);
  auto why = text ? json::Parse(*text) : Result<json::Value>(Error{});
  return why ? std::string(why->FindString("code").value_or("")) : "";
}

json::Value LeasedWorld::ParkedBundle(const std::string& run_id) const {
  auto kept =
      runner::ReadKeptBundle(world_.config.state_dir, protocol::RunId::Parse(run_id).value());
  if (kept) return *kept;
  auto text = ReadFile(world_.config.state_dir + "/parked/" + run_id + ".bundle.json", 64 << 20);
  auto bundle = text ? json::Parse(*text) : Result<json::Value>(Error{});
  return bundle ? *bundle : json::Value();
}

}  // namespace writ::test
