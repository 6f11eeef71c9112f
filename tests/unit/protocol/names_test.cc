// The allow-list patterns of protocol.md section 2 (L3).
#include "support.h"

namespace writ::protocol {
namespace {

template <typename T>
void Takes(std::initializer_list<std::string_view> texts) {
  for (const std::string_view text : texts) EXPECT_TRUE(T::Parse(text)) << text;
}
template <typename T>
void Refuses(std::initializer_list<std::string_view> texts) {
  for (const std::string_view text : texts) EXPECT_FALSE(T::Parse(text)) << text;
}

TEST(HostName, TakesBareLowerCaseNamesOnly) {
  Takes<HostName>({"api.example.com", "localhost", "xn--bcher-kva.example", "a-b.c1", "1and1.com",
                   "4.example"});
  Refuses<HostName>({"", "API.example.com", "http://a.com", "a.com:443", "a.com/x", "u@a.com",
                     "a..com", ".a.com", "a.com.", "-a.com", "a-.com", "a_b.com", "*.a.com",
                     "bücher.example", "a b.com", "a.com\n", "[::1]", "::1", "a%2ecom"});
  Refuses<HostName>(
      {std::string(254, 'a'), std::string(64, 'a') + ".com", std::string_view("a\0b.com", 7)});
}

TEST(HostName, RefusesNumericAddressesInEverySpelling) {  // L21
  Refuses<HostName>({"127.0.0.1", "2130706433", "0177.0.0.1", "0x7f.0.0.1", "0x7f000001", "127.1",
                     "0x", "1.2.3.0x4"});
}

TEST(AllowedHost, TakesOneLeadingStarAndNoOther) {
  Takes<AllowedHost>({"*.example.com", "example.com"});
  Refuses<AllowedHost>({"*", "*.", "a.*.com", "*.*.com", "*example.com", "*.1.2.3.4"});
}

TEST(PoolName, FollowsItsPattern) {
  Takes<PoolName>({"default", "gpu:a100", "a_b.c-d", std::string(128, 'x')});
  Refuses<PoolName>({"", "no spaces", "a/b", "ä", std::string(129, 'x')});
}

TEST(SecretName, IsAnIdentifier) {
  Takes<SecretName>({"API_TOKEN", "_x", "a1"});
  Refuses<SecretName>({"", "1A", "A-B", "A B", "A=B", "Ä"});
}

TEST(RunId, IsSafeAsAFileName) {
  Takes<RunId>({"run_0_970258", "run_855fbc29-6fc5-49e3-9ac3-b347f6a9f12d", "a"});
  Refuses<RunId>({"", ".", "..", "../x", "a/b", ".hidden", "-rf", "a b", "run\n"});
}

TEST(WorkspacePath, NeverLeavesTheWorkspace) {  // L13
  Takes<WorkspacePath>({"a", "dir/f0.txt", ".env", "..a/b..", "ünï/x y"});
  Refuses<WorkspacePath>({"", "/a", "a/../b", "..", "./a", "a//b", "a/", "a\\b", "C:/x", "c:x",
                          std::string_view("a\0b", 3), "a\nb", "."});
  Takes<WorkspaceDir>({".", "sub/dir"});
  Refuses<WorkspaceDir>({"..", "/", ""});
}

TEST(Digest, TakesLowerCaseHexOfTheRightLengthOnly) {
  const std::string good(64, 'a');
  EXPECT_TRUE(Digest::Parse(good));
  EXPECT_EQ(Digest::Parse(good)->ToHex(), good);
  EXPECT_TRUE(Digest::Parse(std::string(64, '0'))->is_zero());
  for (const std::string& bad :
       {std::string(63, 'a'), std::string(65, 'a'), std::string(64, 'A'),
        std::string(63, 'a') + "g", std::string(63, 'a') + "\xFF", std::string()}) {
    EXPECT_FALSE(Digest::Parse(bad)) << bad;
  }
}

TEST(Sha256, AgreesWithTheKnownAnswersWholeAndInPieces) {
  EXPECT_EQ(Sha256("").ToHex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Sha256("abc").ToHex(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  Sha256Hasher hasher;
  for (int i = 0; i < 1000; ++i) hasher.Update("abcdefg");
  std::string whole;
  for (int i = 0; i < 1000; ++i) whole += "abcdefg";
  EXPECT_EQ(hasher.Finish(), Sha256(whole));
  EXPECT_EQ(hasher.Finish(), Sha256("")) << "finishing starts afresh";
}

}  // namespace
}  // namespace writ::protocol
