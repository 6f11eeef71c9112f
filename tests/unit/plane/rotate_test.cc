// Other keys: a runner's, proven by its old one, and the plane's, signed by the organisation's.
#include <fcntl.h>
#include <sys/stat.h>

#include "lease_test.h"
#include "writ/base/encoding.h"
#include "writ/plane/plane_keys.h"
#include "writ/protocol/bundle.h"
#include "writ/protocol/key_manifest.h"

namespace writ::test {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr milliseconds kNoWait{0};

std::string Proof(const protocol::PrivateKey& old_key, const protocol::PublicKey& fresh) {
  return Base64Encode(protocol::Sign(old_key, "writ-rotate:" + fresh.Id().text()));
}

class RunnerRotation : public ::testing::Test {
 protected:
  Result<std::string> Rotate(const std::string& token, const protocol::PrivateKey& old_key) {
    return plane->Rotate({.runner_token = token,
                          .public_key_pem = fresh.Public().ToPem(),
                          .proof = Proof(old_key, fresh.Public())});
  }
  std::string Code(const Result<std::string>& answer) {
    return answer ? "rotated" : answer.error().code;
  }
  TestPlane plane;
  TestRunner runner{*plane, plane.local};
  protocol::PrivateKey fresh = protocol::PrivateKey::Generate();
};

TEST_F(RunnerRotation, GivesANewKeyAndTokenAndReceiptsOfTheOldKeyStillVerify) {
  const std::string before = RunToCompletion(plane, runner);
  const std::string bundle = plane->Bundle(before).value();
  EXPECT_EQ(Code(Rotate(runner.token, runner.key)), "rotation.not_asked");
  ASSERT_TRUE(plane->AskRotation(plane.local, runner.id));
  auto told = plane->TakeOffer(runner.token, "default", kNoWait);
  ASSERT_TRUE(told);
  EXPECT_TRUE(told->rotate);
  auto token = Rotate(runner.token, runner.key);
  ASSERT_TRUE(token) << token.error().ToString();
  EXPECT_EQ(plane->Bundle(before).value(), bundle);
  EXPECT_TRUE(protocol::VerifyBundle(bundle).ok);

  TestRunner rotated = std::move(runner);
  rotated.key = fresh.Clone();
  rotated.token = *token;
  const std::string after = RunToCompletion(plane, rotated);
  protocol::VerifyOptions options;
  options.runner_key = fresh.Public();
  EXPECT_TRUE(protocol::VerifyBundle(plane->Bundle(after).value(), options).ok);
  EXPECT_EQ(plane->Runners()->front().key_id, fresh.Public().Id().text());
}

TEST_F(RunnerRotation, TheOldTokenEndsWithTheFirstUseOfTheNewOne) {  // L11
  ASSERT_TRUE(plane->AskRotation(plane.local, runner.id));
  auto token = Rotate(runner.token, runner.key);
  ASSERT_TRUE(token);
  EXPECT_TRUE(plane->TakeOffer(runner.token, "default", kNoWait)) << "the answer may be lost";
  EXPECT_EQ(Rotate(runner.token, runner.key).value_or(""), *token) << "and asked for again";
  ASSERT_TRUE(plane->TakeOffer(*token, "default", kNoWait));
  EXPECT_EQ(plane->TakeOffer(runner.token, "default", kNoWait).error().code, "unauthorized");
  EXPECT_EQ(Code(Rotate(runner.token, runner.key)), "unauthorized");
  plane.Reopen();
  EXPECT_EQ(plane->TakeOffer(runner.token, "default", kNoWait).error().code, "unauthorized");
}

TEST_F(RunnerRotation, NeedsTheOldKeysProof) {
  ASSERT_TRUE(plane->AskRotation(plane.local, runner.id));
  EXPECT_EQ(Code(Rotate(runner.token, fresh)), "rotation.proof") << "who stole only the token";
  EXPECT_EQ(Code(plane->Rotate({.runner_token = runner.token,
                                .public_key_pem = fresh.Public().ToPem(),
                                .proof = "not base64!"})),
            "rotation.proof");
  const auto other = protocol::PrivateKey::Generate();
  EXPECT_EQ(Code(plane->Rotate({.runner_token = runner.token,
                                .public_key_pem = fresh.Public().ToPem(),
                                .proof = Proof(runner.key, other.Public())})),
            "rotation.proof")
      << "a proof for another key";
  EXPECT_EQ(Code(plane->Rotate({.runner_token = runner.token,
                                .public_key_pem = "no key",
                                .proof = Proof(runner.key, fresh.Public())})),
            "rotation.key");
}

TEST_F(RunnerRotation, WaitsForTheEndOfOpenRunsAndTakesOffersBack) {
  auto run = Submit(plane);
  auto claim = Acknowledged(plane, runner);
  ASSERT_TRUE(plane->AskRotation(plane.local, runner.id));
  EXPECT_TRUE(plane->Lease(run, {.claim_token = claim.claim_token})->rotate);
  EXPECT_EQ(Code(Rotate(runner.token, runner.key)), "rotation.open_run");
  auto finished = FinishClaim(claim, runner, plane.clock.Now());
  ASSERT_TRUE(plane->AppendEvents(run, claim.claim_token, finished.events)->accepted);
  ASSERT_TRUE(plane->Complete(run, claim.claim_token, finished.receipt, ""));
  auto second = Submit(plane, {.prompt = "second"});
  auto waiting = plane->TakeOffer(runner.token, "default", kNoWait);
  ASSERT_TRUE(waiting);
  EXPECT_FALSE(waiting->offer) << "no new run before the rotation";
  EXPECT_TRUE(Rotate(runner.token, runner.key));
}

TEST_F(RunnerRotation, AnOfferUnderTheOldKeyIsNobodysAfterwards) {
  auto run = Submit(plane);
  auto offer = plane->TakeOffer(runner.token, "default", kNoWait)->offer;
  ASSERT_TRUE(offer);
  ASSERT_TRUE(plane->AskRotation(plane.local, runner.id));
  ASSERT_TRUE(Rotate(runner.token, runner.key));
  EXPECT_EQ(plane->Acknowledge(run, offer->claim_token).error().code, "offer.expired");
  TestRunner other(*plane, plane.local);
  EXPECT_TRUE(plane->TakeOffer(other.token, "default", kNoWait)->offer);
}

TEST_F(RunnerRotation, AKeyIsNeverUsedAgainNorByAnother) {
  TestRunner other(*plane, plane.local);
  ASSERT_TRUE(plane->AskRotation(plane.local, runner.id));
  auto to = [&](const protocol::PrivateKey& key) {
    return Code(plane->Rotate({.runner_token = runner.token,
                               .public_key_pem = key.Public().ToPem(),
                               .proof = Proof(runner.key, key.Public())}));
  };
  EXPECT_EQ(to(other.key), "rotation.key_known");
  EXPECT_EQ(to(runner.key), "rotation.same_key");
  ASSERT_TRUE(Rotate(runner.token, runner.key));
  auto enroll = plane->CreateEnrollToken(plane.local, hours(1), std::nullopt);
  auto back = plane->Enroll(enroll->token, runner.key.Public().ToPem(), "default");
  ASSERT_FALSE(back) << "the key was rotated out, perhaps because it leaked";
  EXPECT_EQ(back.error().kind, ErrorKind::kDenied);
}

TEST_F(RunnerRotation, ALostRunsLateReceiptIsCheckedWithTheKeyOfItsClaim) {
  auto run = Submit(plane);
  auto claim = Acknowledged(plane, runner);
  auto finished = FinishClaim(claim, runner, plane.clock.Now());
  PassTime(plane, minutes(12));
  ASSERT_TRUE(plane->AskRotation(plane.local, runner.id));
  auto token = Rotate(runner.token, runner.key);
  ASSERT_TRUE(token) << "a lost run is not open";
  auto late = plane->Late(
      run, {.runner_token = *token, .events = finished.events, .receipt = finished.receipt});
  EXPECT_TRUE(late) << late.error().ToString();
  EXPECT_TRUE(protocol::VerifyBundle(plane->Bundle(run).value()).ok);
}

TEST_F(RunnerRotation, IsAskedByAdministratorsOfRunnersThatAreThere) {
  plane::Caller requester{.name = "ci", .roles = {plane::Role::kRequester}};
  EXPECT_EQ(plane->AskRotation(requester, runner.id).error().code, "forbidden");
  EXPECT_EQ(plane->AskRotation(plane.local, "rnr_nobody").error().code, "runner.not_found");
  ASSERT_TRUE(plane->RevokeRunner(plane.local, runner.id));
  EXPECT_EQ(plane->AskRotation(plane.local, runner.id).error().code, "runner.not_found");
  EXPECT_EQ(Code(Rotate(runner.token, runner.key)), "runner.revoked");
}

class PlaneKeys : public ::testing::Test {
 protected:
  protocol::KeyManifest Manifest() {
    return protocol::KeyManifest::Parse(json::Parse(plane->KeyManifest().value()).value()).value();
  }
  protocol::PublicKey Org() {
    return protocol::PublicKey::FromPem(plane->org_public_key_pem()).value();
  }
  // As an auditor does it: the organisation's key is pinned, the plane's comes from the manifest.
  protocol::VerifyReport Verify(const std::string& bundle) {
    const auto manifest = Manifest();
    EXPECT_TRUE(protocol::CheckKeyManifest(manifest, Org()));
    protocol::VerifyOptions options;
    options.key_manifest = &manifest;
    options.runner_key = runner.key.Public();
    options.require_pinned = true;
    return protocol::VerifyBundle(bundle, options);
  }
  TestPlane plane;
  TestRunner runner{*plane, plane.local};
};

TEST_F(PlaneKeys, AreInAManifestThatTheOrganisationSigned) {
  const auto manifest = Manifest();
  ASSERT_EQ(manifest.plane_keys.size(), 1u);
  EXPECT_EQ(manifest.plane_keys[0].key.Id().text(), plane->key_id());
  EXPECT_TRUE(Verify(plane->Bundle(RunToCompletion(plane, runner)).value()).ok);
}

TEST_F(PlaneKeys, AfterARotationReceiptsOfBeforeAndAfterVerify) {
  const std::string before = RunToCompletion(plane, runner);
  const std::string old_key = plane->key_id();
  plane.clock.Advance(minutes(1));
  auto rotated = plane::RotatePlaneKey(plane.dir(), {}, plane.clock);
  ASSERT_TRUE(rotated) << rotated.error().ToString();
  EXPECT_EQ(rotated->old_key_id, old_key);
  plane.Reopen();
  EXPECT_EQ(plane->key_id(), rotated->new_key_id);
  EXPECT_NE(plane->key_id(), old_key);
  const std::string after = RunToCompletion(plane, runner, {.prompt = "after"});
  for (const auto& run : {before, after}) {
    auto report = Verify(plane->Bundle(run).value());
    EXPECT_TRUE(report.ok) << protocol::RenderText(report, run);
  }
  const auto modes = [&](const std::string& name) {
    struct stat st {};
    EXPECT_EQ(::stat((plane.dir() + "/keys/" + name).c_str(), &st), 0) << name;
    return st.st_mode & 0777;
  };
  EXPECT_EQ(modes("plane.pem"), 0600u);
  EXPECT_EQ(modes("plane-" + old_key.substr(8) + ".pem"), 0600u);
}

TEST_F(PlaneKeys, ARunThatIsOpenDuringARotationIsClosedByTheKeyOfItsContract) {
  auto run = Submit(plane);
  auto claim = Acknowledged(plane, runner);
  auto lost = Submit(plane, {.prompt = "lost"});
  auto abandoned = Acknowledged(plane, runner);
  ASSERT_TRUE(plane::RotatePlaneKey(plane.dir(), {}, plane.clock));
  plane.Reopen();
  auto finished = FinishClaim(claim, runner, plane.clock.Now());
  auto events = plane->AppendEvents(run, claim.claim_token, finished.events);
  ASSERT_TRUE(events) << "the token is signed by the old key: " << events.error().ToString();
  auto done = plane->Complete(run, claim.claim_token, finished.receipt, "");
  ASSERT_TRUE(done) << done.error().ToString();
  EXPECT_TRUE(Verify(plane->Bundle(run).value()).ok);
  PassTime(plane, minutes(12));
  auto report = Verify(plane->Bundle(lost).value());
  EXPECT_TRUE(report.ok) << protocol::RenderText(report, "lost");
  EXPECT_TRUE(report.closed_by_plane);
}

TEST_F(PlaneKeys, APlaneThatGoesOnWithTheOldKeyStopsWhenItsTimeIsOver) {
  ASSERT_TRUE(plane::RotatePlaneKey(plane.dir(), {.org_key_file = "", .overlap = seconds(600)},
                                    plane.clock));
  ASSERT_TRUE(plane->Ready());
  const std::string within = RunToCompletion(plane, runner);
  EXPECT_TRUE(Verify(plane->Bundle(within).value()).ok);
  plane.clock.Advance(seconds(601));
  auto ready = plane->Ready();
  ASSERT_FALSE(ready);
  EXPECT_EQ(ready.error().code, "plane.key_retired");
  auto submitted = plane->Submit(plane.local, json::Write(RunBody(*plane)));
  ASSERT_FALSE(submitted);
  EXPECT_EQ(submitted.error().code, "plane.key_retired");
  plane.Reopen();
  EXPECT_TRUE(plane->Ready());
  EXPECT_TRUE(Verify(plane->Bundle(RunToCompletion(plane, runner)).value()).ok);
}

TEST_F(PlaneKeys, AnotherKeyThanTheOrganisationsRotatesNothing) {
  const std::string file = plane.dir() + "/stranger.pem";
  WriteText(file, protocol::PrivateKey::Generate().ToPem().Reveal());
  auto rotated = plane::RotatePlaneKey(plane.dir(), {.org_key_file = file}, plane.clock);
  ASSERT_FALSE(rotated);
  EXPECT_EQ(rotated.error().code, "plane.org_key");
  const std::string before = plane->key_id();
  plane.Reopen();
  EXPECT_EQ(plane->key_id(), before);
}

// What is on disk when a rotation is killed between any two of its steps.
TEST_F(PlaneKeys, AnInterruptedRotationLeavesAPlaneThatOpensAndTheNextOneFinishesIt) {
  const std::string keys = plane.dir() + "/keys/";
  std::map<std::string, std::string> old_files, new_files;
  for (const char* name : {"plane.pem", "plane.pub.pem", "manifest.json"})
    old_files[name] = ReadText(keys + name);
  const std::string retired = "plane-" + plane->key_id().substr(8) + ".pem";
  plane.clock.Advance(minutes(1));
  ASSERT_TRUE(plane::RotatePlaneKey(plane.dir(), {}, plane.clock));
  for (const char* name : {"plane.pem", "plane.pub.pem", "manifest.json"})
    new_files[name] = ReadText(keys + name);
  const std::string next = new_files["plane.pem"];
  plane.Close();
  const std::vector<std::string> order{"manifest.json", "plane.pem", "plane.pub.pem"};
  for (std::size_t done = 0; done <= order.size(); ++done) {
    for (std::size_t i = 0; i < order.size(); ++i)
      WriteText(keys + order[i], (i < done ? new_files : old_files)[order[i]]);
    WriteText(keys + "plane-next.pem", next);
    ::chmod((keys + "plane-next.pem").c_str(), 0600);
    ASSERT_TRUE(std::filesystem::exists(keys + retired));
    plane.Reopen();
    plane.Close();
    auto finished = plane::RotatePlaneKey(plane.dir(), {}, plane.clock);
    ASSERT_TRUE(finished) << done << ": " << finished.error().ToString();
    EXPECT_EQ(ReadText(keys + "plane.pem"), next) << "the same key, not a third one: " << done;
    EXPECT_FALSE(std::filesystem::exists(keys + "plane-next.pem"));
    plane.Reopen();
    EXPECT_EQ(Manifest().plane_keys.size(), 2u);
    plane.Close();
  }
}

TEST_F(PlaneKeys, AManifestThatSomebodyChangedIsRefused) {
  const std::string path = plane.dir() + "/keys/manifest.json";
  std::string text = ReadText(path);
  text.replace(text.find("1970"), 4, "1971");
  plane.Close();
  WriteText(path, text);
  auto opened = plane::Plane::Open({.dir = plane.dir(), .config = std::nullopt}, plane.clock);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, "plane.key_manifest");
}

TEST_F(PlaneKeys, ARotationIsInTheAdminChainAndTheExportNamesItsFirstKey) {
  const std::string old_key = plane->key_id();
  ASSERT_TRUE(plane::RotatePlaneKey(plane.dir(), {}, plane.clock));
  plane.Reopen();
  bool entry = false;
  std::string head;
  ASSERT_TRUE(plane->Export(WallTime{}, [&](std::string_view line) -> Status {
    entry = entry || line.find("admin.plane_key.changed") != std::string_view::npos;
    head = std::string(line);
    return {};
  }));
  EXPECT_TRUE(entry);
  EXPECT_EQ(json::Parse(head)->FindString("genesisKeyId"), old_key);
  EXPECT_EQ(json::Parse(head)->FindString("planeKeyId"), plane->key_id());
}

}  // namespace
}  // namespace writ::test
