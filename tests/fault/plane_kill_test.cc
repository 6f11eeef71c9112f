// A plane is killed, alone and with its machine's power, in what no short run reaches: closing a
// lost run, repeating it, keeping a late receipt, revoking, changing keys. The next one finds the
// deed done once or not at all, and the call that was not answered can be made again (L38, L39).
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <tuple>

#include "fault/support/elsewhere.h"
#include "fault/support/power_cut.h"
#include "lease_test.h"
#include "writ/base/encoding.h"
#include "writ/base/fault.h"
#include "writ/plane/plane_keys.h"
#include "writ/protocol/bundle.h"
#include "writ/protocol/key_manifest.h"

namespace writ::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

enum class Death { kKilled, kPowerCut };

class PlaneKill : public ::testing::TestWithParam<std::tuple<std::string_view, Death>> {
 protected:
  // `work` in a process of its own, which dies at the point of the test.
  void Die(const std::function<void()>& work) {
    plane.Close();
    const pid_t child = fork();
    if (child == 0) {
      setenv("WRIT_FAULT", (std::string(std::get<0>(GetParam())) + ":kill").c_str(), 1);
      fault::ReadOrderAgain();
      if (std::get<1>(GetParam()) == Death::kPowerCut) WritPowerCutBelow(plane.dir().c_str());
      plane.Reopen();
      work();
      ::_exit(0);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    plane.Reopen();
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << "the point was not reached";
  }
  void Begin(const RequestOptions& options) {
    run = Submit(plane, options);
    claim = Acknowledged(plane, runner);
    finished = FinishClaim(claim, runner, plane.clock.Now());
  }
  void Lose() { PassTime(plane, minutes(11) + seconds(10)); }
  plane::RunSummary Summary() { return plane->Run(run)->summary; }
  Status Late() {
    return plane->Late(run, {.claim_token = claim.claim_token,
                             .runner_token = runner.token,
                             .events = finished.events,
                             .receipt = finished.receipt});
  }
  // One receipt, of the plane alone, and one terminal event.
  void ExpectClosedOnce() {
    EXPECT_TRUE(protocol::VerifyBundle(plane->Bundle(run).value()).ok);
    int terminal = 0;
    for (const std::string& type : EventTypes(plane, run)) terminal += type == "run.failed" ? 1 : 0;
    EXPECT_EQ(terminal, 1);
  }
  TestPlane plane;
  TestRunner runner{*plane, plane.local};
  std::string run;
  plane::Claim claim;
  FinishedRun finished;
};

std::string NameOf(const ::testing::TestParamInfo<PlaneKill::ParamType>& info) {
  std::string name(std::get<0>(info.param));
  for (char& c : name)
    if (c == '.') c = '_';
  return name + (std::get<1>(info.param) == Death::kKilled ? "" : "_and_the_power");
}

template <typename Points>
auto At(const Points& points) {
  return ::testing::Combine(::testing::ValuesIn(points),
                            ::testing::Values(Death::kKilled, Death::kPowerCut));
}

class ClosingALostRun : public PlaneKill {};
TEST_P(ClosingALostRun, HappensOnceAndRepeatsItOnce) {
  Begin(IdempotentJob());
  const auto start = plane.clock.Now();
  Die([&] { Lose(); });
  ASSERT_EQ(plane.clock.Now(), start) << "the time that passed there passed in another process";
  Lose();
  ExpectClosedOnce();
  EXPECT_EQ(Summary().closed_reason, plane::kClosedLeaseExpired);
  ASSERT_EQ(plane->Runs()->size(), 2u) << "the run and its one repetition";
  EXPECT_EQ(plane->Run(Summary().retried_as)->summary.retry_of, run);
  auto late = Late();
  EXPECT_TRUE(late) << late.error().ToString();
}
INSTANTIATE_TEST_SUITE_P(Plane, ClosingALostRun, At(kClosingALostRun), NameOf);

class KeepingALateReceipt : public PlaneKill {};
TEST_P(KeepingALateReceipt, IsDoneOnceAndAnsweredAgain) {
  Begin({});
  Lose();
  const std::string receipt = plane->Run(run)->receipt;
  Die([&] { (void)Late(); });
  EXPECT_TRUE(Summary().has_late_receipt) << "it was on the disk before it would be answered";
  auto again = Late();
  EXPECT_TRUE(again) << again.error().ToString();
  EXPECT_EQ(plane->Run(run)->receipt, receipt);
  ExpectClosedOnce();
  auto kept = protocol::VerifyBundle(plane->LateBundle(run).value());
  ASSERT_EQ(kept.problems.size(), 1u);
  EXPECT_EQ(kept.problems[0].code, "receipt.plane_signature");
}
INSTANTIATE_TEST_SUITE_P(Plane, KeepingALateReceipt, At(kKeepingALateReceipt), NameOf);

class Revoking : public PlaneKill {};
TEST_P(Revoking, BitesAndTheOpenRunIsClosed) {
  Begin({});
  Die([&] { (void)plane->RevokeRunner(plane.local, runner.id); });
  EXPECT_EQ(plane->TakeOffer(runner.token, "default", milliseconds(0)).error().code,
            "runner.revoked");
  EXPECT_FALSE(plane->Complete(run, claim.claim_token, finished.receipt, ""));
  PassTime(plane, seconds(30));
  EXPECT_EQ(Summary().closed_reason, plane::kClosedRunnerRevoked);
  ExpectClosedOnce();
}
INSTANTIATE_TEST_SUITE_P(Plane, Revoking, At(kRevoking), NameOf);

class RotatingARunner : public PlaneKill {};
TEST_P(RotatingARunner, IsDoneOnceAndAnsweredAgain) {
  const std::string before = RunToCompletion(plane, runner);
  const auto fresh = protocol::PrivateKey::Generate();
  ASSERT_TRUE(plane->AskRotation(plane.local, runner.id));
  auto rotate = [&] {
    return plane->Rotate({.runner_token = runner.token,
                          .public_key_pem = fresh.Public().ToPem(),
                          .proof = Base64Encode(protocol::Sign(
                              runner.key, "writ-rotate:" + fresh.Public().Id().text()))});
  };
  Die([&] { (void)rotate(); });
  auto token = rotate();
  ASSERT_TRUE(token) << token.error().ToString();
  EXPECT_EQ(plane->Runners()->front().key_id, fresh.Public().Id().text());
  EXPECT_TRUE(protocol::VerifyBundle(plane->Bundle(before).value()).ok);
  TestRunner rotated = std::move(runner);
  rotated.key = fresh.Clone();
  rotated.token = *token;
  const std::string after = RunToCompletion(plane, rotated, {.prompt = "after"});
  EXPECT_TRUE(protocol::VerifyBundle(plane->Bundle(after).value()).ok);
}
INSTANTIATE_TEST_SUITE_P(Plane, RotatingARunner, At(kRotatingARunner), NameOf);

class RotatingThePlanesKey : public PlaneKill {};
TEST_P(RotatingThePlanesKey, LeavesAPlaneThatOpensAndIsFinishedByTheNextOne) {
  const std::string before = RunToCompletion(plane, runner);
  const std::string old_key = plane->key_id();
  plane.clock.Advance(minutes(1));
  Die([&] { (void)plane::RotatePlaneKey(plane.dir(), {}, plane.clock); });
  // With the old key or the new one, it works as it is.
  RunToCompletion(plane, runner, {.prompt = "between"});
  plane.Close();
  auto finished_now = plane::RotatePlaneKey(plane.dir(), {}, plane.clock);
  ASSERT_TRUE(finished_now) << finished_now.error().ToString();
  plane.Reopen();
  EXPECT_EQ(plane->key_id(), finished_now->new_key_id);
  EXPECT_NE(plane->key_id(), old_key);
  EXPECT_FALSE(std::filesystem::exists(plane.dir() + "/keys/plane-next.pem"));
  const auto manifest = json::Parse(plane::KeyManifestText(plane.dir()).value()).value();
  EXPECT_EQ(manifest.Find("planeKeys")->if_array()->size(), 2u) << "and no third key";
  const std::string after = RunToCompletion(plane, runner, {.prompt = "after"});
  for (const auto& id : {before, after})
    EXPECT_TRUE(protocol::VerifyBundle(plane->Bundle(id).value()).ok);
}
INSTANTIATE_TEST_SUITE_P(Plane, RotatingThePlanesKey, At(kRotatingThePlanesKey), NameOf);

}  // namespace
}  // namespace writ::test
