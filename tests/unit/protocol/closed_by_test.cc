// A receipt that the plane closed in its runner's place: what a verifier takes, and what it does
// not (L46).
#include "support.h"

namespace writ::protocol {
namespace {

using test::Key;
using test::MadeRun;
using test::MakeRun;

constexpr std::string_view kWhy = "the runner was not heard of any more";

// The run of MakeRun, lost after `kept` of its events.
struct Lost {
  std::size_t kept = 5;
  FailureClass failure = FailureClass::kSessionFailed;
  bool requeued = false;
};
json::Value LostBundle(const Lost& lost = {}) {
  const MadeRun run = MakeRun({});
  std::vector<Event> events(run.events.begin(),
                            run.events.begin() + static_cast<std::ptrdiff_t>(lost.kept));
  auto chain = EventChain::FromEvents(run.contract.Hash(), events).value();
  const WallTime later = events.back().ts + std::chrono::minutes(11);
  if (lost.requeued)
    events.push_back(chain.Append(later, events::RunRequeued(RunId::Parse("run_again").value())));
  events.push_back(chain.Append(later, events::RunFailed(lost.failure, kWhy)));
  ReceiptFacts facts;
  facts.runner_id = run.receipt.runner_id;
  facts.pool = run.contract.pool;
  Receipt receipt = ReceiptFromEvents(run.contract, events, facts).value();
  receipt.runner_key = Key("runner").Public().Id();
  receipt.closed_by = ClosedByPlane{CloseReason::kLeaseExpired, events[lost.kept - 1].ts};
  EXPECT_TRUE(SignInPlaceOfRunner(receipt, Key("plane")));
  return BuildBundle(run.contract, receipt, events,
                     {Key("plane").Public(), Key("runner").Public(), std::nullopt});
}

VerifyReport VerifyBoth(const json::Value& bundle, const VerifyOptions& options = {}) {
  const VerifyReport report = VerifyBundle(json::Write(bundle), options);
  EXPECT_EQ(RenderJson(report), RenderJson(VerifyBundleValue(bundle, options)));
  return report;
}

json::Object& ReceiptOf(json::Value& bundle) {
  return bundle.object().Find("receipt")->object();
}

// Signed anew by the ones named, after a change.
json::Value Signed(json::Value bundle, std::initializer_list<std::pair<const char*, Signer>> who) {
  const Digest hash = HashWithout(*bundle.Find("receipt"), "signatures");
  std::vector<Signature> signatures;
  for (const auto& [key, signer] : who) signatures.push_back(SignDigest(Key(key), signer, hash));
  ReceiptOf(bundle).Set("signatures", SignaturesToJson(signatures));
  return bundle;
}

TEST(ClosedByPlane, VerifiesWithoutTheRunnersSignatureAndSaysSo) {
  const json::Value bundle = LostBundle();
  VerifyOptions pinned;
  pinned.plane_key = Key("plane").Public();
  pinned.runner_key = Key("runner").Public();
  const VerifyReport report = VerifyBoth(bundle, pinned);
  EXPECT_TRUE(report.ok) << RenderText(report, "lost");
  EXPECT_TRUE(report.closed_by_plane);
  EXPECT_TRUE(report.warnings.empty()) << RenderText(report, "lost");
  const json::Value out = RenderJson(report);
  ASSERT_NE(out.Find("closedBy"), nullptr);
  EXPECT_EQ(out.Find("closedBy")->FindString("reason"), "lease_expired");
  const std::string text = RenderText(report, "lost");
  EXPECT_NE(text.find("VERIFIED, keys pinned, lost: closed by the plane"), std::string::npos);
  EXPECT_NE(text.find("note.closed_by_plane"), std::string::npos);
  EXPECT_EQ(text.find("note.software_key"), std::string::npos) << "no runner key signed";
  EXPECT_EQ(RenderJson(VerifyBoth(MakeRun({}).bundle)).Find("closedBy"), nullptr);
}

TEST(ClosedByPlane, MayFollowTheEndThatALostRunnerHadWritten) {
  const std::size_t all = MakeRun({}).events.size();
  EXPECT_TRUE(VerifyBoth(LostBundle({.kept = all})).ok);
  EXPECT_TRUE(VerifyBoth(LostBundle({.kept = all, .requeued = true})).ok);
  EXPECT_TRUE(VerifyBoth(LostBundle({.requeued = true})).ok);
}

TEST(ClosedByPlane, IsNotTakenFromARunner) {  // L46
  const json::Value lost = LostBundle();
  // The runner says that the plane closed the run, and signs itself, beside the plane or alone.
  EXPECT_TRUE(
      VerifyBoth(Signed(lost, {{"runner", Signer::kRunner}})).HasProblem("receipt.closed_by"));
  EXPECT_TRUE(VerifyBoth(Signed(lost, {{"runner", Signer::kRunner}, {"plane", Signer::kPlane}}))
                  .HasProblem("receipt.closed_by"));
  // It signs in the plane's name.
  EXPECT_TRUE(
      VerifyBoth(Signed(lost, {{"runner", Signer::kPlane}})).HasProblem("receipt.closed_by"));
  EXPECT_TRUE(
      VerifyBoth(Signed(lost, {{"runner", Signer::kPlane}})).HasProblem("receipt.plane_signature"));
  // A member smuggled into a receipt that both signed.
  json::Value forged = MakeRun({}).bundle;
  ReceiptOf(forged).Set("closedBy", *lost.Find("receipt")->Find("closedBy"));
  EXPECT_TRUE(VerifyBoth(forged).HasProblem("receipt.closed_by"));
  EXPECT_TRUE(VerifyBoth(Signed(forged, {{"runner", Signer::kRunner}, {"plane", Signer::kPlane}}))
                  .HasProblem("receipt.closed_by"));
}

TEST(ClosedByPlane, IsNeverASuccessAndAlwaysTheClosingEvent) {  // L46
  json::Value success = MakeRun({}).bundle;
  ReceiptOf(success).Set("closedBy", *LostBundle().Find("receipt")->Find("closedBy"));
  const VerifyReport report = VerifyBoth(Signed(success, {{"plane", Signer::kPlane}}));
  EXPECT_FALSE(report.ok);
  EXPECT_TRUE(report.HasProblem("receipt.closed_by"));
  EXPECT_TRUE(report.HasProblem("receipt.runner_signature"));
  EXPECT_TRUE(VerifyBoth(LostBundle({.failure = FailureClass::kPolicyDenied}))
                  .HasProblem("receipt.closed_by"));
  json::Value completed = LostBundle();
  ReceiptOf(completed).Set("status", "completed");
  EXPECT_TRUE(
      VerifyBoth(Signed(completed, {{"plane", Signer::kPlane}})).HasProblem("receipt.closed_by"));
  Receipt receipt = MakeRun({}).receipt;
  receipt.closed_by = ClosedByPlane{};
  EXPECT_EQ(SignInPlaceOfRunner(receipt, Key("plane")).error().code, "receipt.not_closed");
}

TEST(ClosedByPlane, NeedsThePlanesSignature) {  // L46
  json::Value none = Signed(LostBundle(), {});
  EXPECT_TRUE(VerifyBoth(none).HasProblem("receipt.plane_signature"));
  EXPECT_TRUE(VerifyBoth(none).HasProblem("receipt.closed_by"));
  EXPECT_TRUE(VerifyBoth(Signed(LostBundle(), {{"stranger", Signer::kPlane}}))
                  .HasProblem("receipt.plane_signature"));
}

TEST(ClosedByPlane, OfUnknownFormIsRefused) {  // L3
  for (const char* text :
       {R"({"kind":"runner","reason":"lease_expired","lastSeen":"2026-06-22T05:05:48.993Z"})",
        R"({"kind":"plane","reason":"because","lastSeen":"2026-06-22T05:05:48.993Z"})",
        R"({"kind":"plane","reason":"lease_expired"})", R"("plane")", "null"}) {
    json::Value bundle = LostBundle();
    ReceiptOf(bundle).Set("closedBy", json::Parse(text).value());
    const VerifyReport report = VerifyBoth(Signed(bundle, {{"plane", Signer::kPlane}}));
    EXPECT_FALSE(report.ok) << text;
    EXPECT_FALSE(report.closed_by_plane) << text;
  }
}

TEST(ClosedByPlane, NothingButTheClosingEventsMayFollowAnEnd) {
  const std::size_t all = MakeRun({}).events.size();
  json::Value bundle = LostBundle({.kept = all, .requeued = true});
  // An event of a runner between its end and the plane's.
  json::Array& events = bundle.object().Find("events")->array();
  events[all].object().Set("event", events::Finding("late", "more work"));
  test::Rechain(bundle, {});
  const VerifyReport report = VerifyBoth(Signed(bundle, {{"plane", Signer::kPlane}}));
  EXPECT_TRUE(report.HasProblem("chain.after_end")) << RenderText(report, "late");
}

TEST(ClosedByPlane, EveryMemberOfASwappedLostReceiptFails) {  // L46
  const json::Value lost = LostBundle();
  const json::Value whole = MakeRun({}).bundle;
  for (const char* member : {"receipt", "events"}) {
    json::Value mixed = lost;
    mixed.object().Set(member, *whole.Find(member));
    EXPECT_FALSE(VerifyBoth(mixed).ok) << member;
    json::Value other = whole;
    other.object().Set(member, *lost.Find(member));
    EXPECT_FALSE(VerifyBoth(other).ok) << member;
  }
  json::Value cut = lost;
  cut.object().Find("events")->array().pop_back();
  EXPECT_FALSE(VerifyBoth(cut).ok);
}

}  // namespace
}  // namespace writ::protocol
