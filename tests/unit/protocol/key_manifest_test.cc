// The key manifest: form, signature, the time of each key, and what it pins in a bundle.
#include "writ/protocol/key_manifest.h"

#include "support.h"

namespace writ::protocol {
namespace {

using test::Key;
using test::MakeRun;

constexpr WallTime kIssued{1782104748000};  // of MakeRun's contract

KeyManifest Made(std::vector<PlaneKeyEntry> keys, const std::string& signer = "org") {
  KeyManifest draft;
  draft.issued_at = kIssued;
  draft.plane_keys = std::move(keys);
  auto sealed = SealKeyManifest(std::move(draft), Key(signer));
  EXPECT_TRUE(sealed) << (sealed ? "" : sealed.error().ToString());
  return *sealed;
}

PlaneKeyEntry Entry(const std::string& which, std::int64_t from_ms,
                    std::optional<std::int64_t> until_ms = std::nullopt) {
  PlaneKeyEntry out{Key(which).Public(), WallTime{kIssued.unix_ms + from_ms}, std::nullopt};
  if (until_ms) out.not_after = WallTime{kIssued.unix_ms + *until_ms};
  return out;
}

TEST(KeyManifests, AreReadAsTheyWereSigned) {
  const KeyManifest made = Made({Entry("plane", -1000, 5000), Entry("stranger", 4000)});
  auto read = KeyManifest::Parse(json::Parse(json::Write(made.raw)).value());
  ASSERT_TRUE(read) << read.error().ToString();
  EXPECT_TRUE(CheckKeyManifest(*read, Key("org").Public()));
  EXPECT_EQ(read->Hash(), made.Hash());
  EXPECT_NE(read->Find(Key("stranger").Public().Id()), nullptr);
  EXPECT_EQ(read->Find(Key("runner").Public().Id()), nullptr);
}

TEST(KeyManifests, OfAnyOtherKeyThanTheOrganisationsAreRefused) {
  const PublicKey org = Key("org").Public();
  EXPECT_EQ(CheckKeyManifest(Made({Entry("plane", 0)}, "plane"), org).error().code,
            "keys.signature");
  json::Value changed = Made({Entry("plane", 0)}).raw;
  changed.object().Find("planeKeys")->array()[0] =
      Made({Entry("stranger", 0)}).raw.Find("planeKeys")->array()[0];
  auto read = KeyManifest::Parse(changed);
  ASSERT_TRUE(read);
  EXPECT_FALSE(CheckKeyManifest(*read, org));
  json::Value bare = Made({Entry("plane", 0)}).raw;
  bare.object().Set("signatures", json::Array{});
  EXPECT_FALSE(CheckKeyManifest(KeyManifest::Parse(bare).value(), org));
}

TEST(KeyManifests, OfABrokenFormAreRefused) {  // L3
  const json::Value good = Made({Entry("plane", 0)}).raw;
  auto with = [&](const char* member, json::Value value) {
    json::Value changed = good;
    changed.object().Set(member, std::move(value));
    return KeyManifest::Parse(changed).has_value();
  };
  auto key_with = [&](const char* member, json::Value value) {
    json::Value changed = good;
    changed.object().Find("planeKeys")->array()[0].object().Set(member, std::move(value));
    return KeyManifest::Parse(changed).has_value();
  };
  EXPECT_TRUE(with("issuedAt", FormatRfc3339(kIssued)));
  EXPECT_FALSE(with("version", "writ.keys.v2"));
  EXPECT_FALSE(with("planeKeys", json::Array{}));
  EXPECT_FALSE(with("planeKeys", "all"));
  EXPECT_FALSE(with("note", "x"));
  EXPECT_FALSE(key_with("keyId", Key("org").Public().Id()));
  EXPECT_FALSE(key_with("publicKeyPem", "no key"));
  EXPECT_FALSE(key_with("notBefore", "yesterday"));
  EXPECT_FALSE(key_with("notAfter", FormatRfc3339(WallTime{kIssued.unix_ms - 1})));
  EXPECT_FALSE(key_with("mayBeUsedFor", "everything"));
  json::Value twice = good;
  json::Array& keys = twice.object().Find("planeKeys")->array();
  keys.push_back(keys[0]);
  EXPECT_FALSE(KeyManifest::Parse(twice));
}

TEST(KeyManifests, HoldAKeyForItsTimeOnlyAtBothEnds) {
  const KeyManifest made = Made({Entry("plane", 0, 1000), Entry("stranger", 1000)});
  auto holds = [&](const char* which, std::int64_t ms) {
    return made.Holds(Key(which).Public(), WallTime{kIssued.unix_ms + ms});
  };
  EXPECT_FALSE(holds("plane", -1));
  EXPECT_TRUE(holds("plane", 0));
  EXPECT_TRUE(holds("plane", 999));
  EXPECT_FALSE(holds("plane", 1000));
  EXPECT_TRUE(holds("stranger", 1000));
  EXPECT_TRUE(holds("stranger", 1'000'000'000));
  EXPECT_FALSE(holds("runner", 500));
}

TEST(KeyManifests, PinThePlaneOfABundleByTheTimeOfItsContract) {
  const test::MadeRun run = MakeRun({});
  auto verify = [&](const KeyManifest& manifest) {
    VerifyOptions options;
    options.key_manifest = &manifest;
    options.runner_key = Key("runner").Public();
    options.require_pinned = true;
    const VerifyReport report = VerifyBundle(run.text, options);
    EXPECT_EQ(RenderJson(report), RenderJson(VerifyBundleValue(run.bundle, options)));
    EXPECT_TRUE(report.pinned);
    return report;
  };
  EXPECT_TRUE(verify(Made({Entry("plane", -1000)})).ok);
  EXPECT_TRUE(verify(Made({Entry("plane", -1000, 1), Entry("stranger", 1)})).ok)
      << "a receipt of before the rotation still verifies";
  EXPECT_TRUE(verify(Made({Entry("plane", -1000, 0)})).HasProblem("pin.plane_key")) << "too late";
  EXPECT_TRUE(verify(Made({Entry("plane", 1)})).HasProblem("pin.plane_key")) << "too early";
  EXPECT_TRUE(verify(Made({Entry("stranger", -1000)})).HasProblem("pin.plane_key"));
}

}  // namespace
}  // namespace writ::protocol
