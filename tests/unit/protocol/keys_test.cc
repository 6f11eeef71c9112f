// Ed25519: agreement with published vectors, strict key texts.
#include "support.h"
#include "writ/base/encoding.h"

namespace writ::protocol {
namespace {

using test::Key;
using test::ReadJson;

std::string Hex(const json::Value& value, std::string_view name) {
  return HexDecode(*value.FindString(name)).value();
}

PublicKey FromRaw(const std::string& raw) {
  std::array<std::uint8_t, 32> bytes{};
  std::copy(raw.begin(), raw.end(), bytes.begin());
  return PublicKey::FromBytes(bytes);
}

TEST(Ed25519, AgreesWithEveryWycheproofCase) {
  WRIT_REQUIRE_SHARED_TESTDATA("ed25519/wycheproof.json");
  const json::Value set = ReadJson(writ::test::SharedDir() + "/testdata/ed25519/wycheproof.json");
  std::size_t cases = 0, invalid = 0;
  for (const json::Value& group : set.Find("testGroups")->array()) {
    const PublicKey key = FromRaw(Hex(*group.Find("publicKey"), "pk"));
    for (const json::Value& item : group.Find("tests")->array()) {
      const bool valid = item.FindString("result") == "valid";
      EXPECT_EQ(Verify(key, Hex(item, "msg"), Hex(item, "sig")), valid)
          << json::Write(*item.Find("tcId"));
      ++cases;
      invalid += valid ? 0 : 1;
    }
  }
  EXPECT_EQ(cases, 151u);
  EXPECT_EQ(invalid, 63u);
}

// The table in protocol/README.md: libsodium refuses small-order and non-canonical points and S
// past the order.
TEST(Speccheck, AcceptsExactlyTheDocumentedCases) {
  WRIT_REQUIRE_SHARED_TESTDATA("ed25519/speccheck.json");
  const json::Value set = ReadJson(writ::test::SharedDir() + "/testdata/ed25519/speccheck.json");
  std::string accepted;
  for (const json::Value& item : set.array()) {
    accepted += Verify(FromRaw(Hex(item, "pub_key")), Hex(item, "message"), Hex(item, "signature"))
                    ? 'V'
                    : 'x';
  }
  EXPECT_EQ(accepted, "xxxVxxxxxxxx");
}

TEST(PublicKey, HasOneTextAndOneIdOnly) {
  const std::string pem = Key("plane").Public().ToPem();
  const PublicKey key = PublicKey::FromPem(pem).value();
  EXPECT_EQ(PublicKey::FromPem("\n " + pem + " \n\n").value(), key)
      << "space around the text is trimmed";
  const std::string body = pem.substr(27, 60);
  const std::string head = "-----BEGIN PUBLIC KEY-----\n", tail = "\n-----END PUBLIC KEY-----\n";
  EXPECT_TRUE(PublicKey::FromPem(head + body + tail));
  for (const std::string& bad :
       {std::string(), std::string("x"), head + body.substr(0, 30) + "\n" + body.substr(30) + tail,
        head + body + " " + tail, "Comment\n" + pem, pem + pem,
        head + Base64Encode(std::string(44, 'a')) + tail,
        "-----BEGIN PUBLIC KEY-----\r\n" + body + "\r\n-----END PUBLIC KEY-----\r\n", head + tail,
        std::string(Key("plane").ToPem().Reveal())}) {
    EXPECT_FALSE(PublicKey::FromPem(bad)) << bad;
  }
}

TEST(PrivateKey, RefusesWhatIsNotPkcs8AndNeverPrintsIt) {  // L8
  const Result<PrivateKey> key =
      PrivateKey::FromPem("-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n");
  ASSERT_FALSE(key);
  EXPECT_EQ(key.error().code, "key.malformed");
  EXPECT_EQ(key.error().ToString().find("c2VjcmV0"), std::string::npos);
  static_assert(!std::is_copy_constructible_v<PrivateKey>);
}

TEST(PrivateKey, GeneratedOnesDifferAndSign) {
  const PrivateKey a = PrivateKey::Generate(), b = PrivateKey::Generate();
  EXPECT_NE(a.Public().ToPem(), b.Public().ToPem());
  const Signature signature = SignDigest(a, Signer::kRunner, Sha256("x"));
  EXPECT_TRUE(VerifyDigest(a.Public(), Sha256("x"), signature));
  EXPECT_FALSE(VerifyDigest(a.Public(), Sha256("y"), signature));
  EXPECT_FALSE(VerifyDigest(b.Public(), Sha256("x"), signature));
  Signature renamed = signature;
  renamed.key_id = b.Public().Id();
  EXPECT_FALSE(VerifyDigest(a.Public(), Sha256("x"), renamed)) << "the key id must be the key's";
}

}  // namespace
}  // namespace writ::protocol
