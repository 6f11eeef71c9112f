#include "writ/runner/redactor.h"

#include <gtest/gtest.h>

#include <random>

#include "unit/runner/slow_redactor.h"
#include "writ/base/encoding.h"

namespace writ::runner {
namespace {

std::vector<NamedSecret> One(std::string name, std::string_view value) {
  std::vector<NamedSecret> secrets;
  secrets.push_back({std::move(name), Secret(value)});
  return secrets;
}

std::string InChunks(const Redactor& redactor, std::string_view text, std::size_t chunk) {
  std::string out;
  RedactionStream stream(redactor, [&](std::string_view piece) { out += piece; });
  for (std::size_t at = 0; at < text.size(); at += chunk) stream.Write(text.substr(at, chunk));
  stream.Finish();
  return out;
}

// L9
TEST(Redactor, TakesOutTheValueWhereverTheChunksAreCut) {
  Redactor redactor = Redactor::Build(One("TOKEN", "s3cr3t-value-42")).value();
  const std::string text = "before s3cr3t-value-42 after s3cr3t-value-4 and s3cr3t-value-42";
  const std::string want = "before [REDACTED:TOKEN] after s3cr3t-value-4 and [REDACTED:TOKEN]";
  for (std::size_t chunk = 1; chunk <= text.size(); ++chunk)
    EXPECT_EQ(InChunks(redactor, text, chunk), want) << chunk;
}

// L9
TEST(Redactor, TakesOutBase64InAllThreeAlignmentsAndBothAlphabets) {
  const std::string value = "pass\xfb\xff?>word/42";
  Redactor redactor = Redactor::Build(One("S", value)).value();
  for (const char* before : {"", "a", "ab", "abc"}) {
    for (const char* after : {"", "z", "zz"}) {
      const std::string bytes = before + value + after;
      for (const std::string& text : {Base64Encode(bytes), Base64UrlEncode(bytes)}) {
        const std::string redacted = redactor.Redact(text);
        EXPECT_NE(redacted.find("[REDACTED:S]"), std::string::npos) << before << "|" << after;
        // At most two characters at each edge are left; they hold bits of the neighbours.
        EXPECT_LE(redacted.size(), std::string("[REDACTED:S]").size() + 16) << redacted;
      }
    }
  }
}

// L9
TEST(Redactor, TakesOutHexUrlAndJsonForms) {
  Redactor redactor = Redactor::Build(One("S", "a b\"c/\xc3\xa9&\n")).value();
  for (const char* form :
       {"612062226"
        "32fc3a9260a",
        "612062226"
        "32FC3A9260A",
        "a%20b%22c%2F%C3%A9%26%0A", "a%20b%22c%2f%c3%a9%26%0a", "a+b%22c%2F%C3%A9%26%0A",
        "a%20b%22c/%C3%A9&%0A", "a b\\\"c/\xc3\xa9&\\n", "a b\\\"c\\/\xc3\xa9&\\n",
        "a b\\\"c/\\u00e9&\\n", "a b\\\"c/\\u00E9&\\n", "a b\\\"c/\xc3\xa9\\u0026\\n",
        "a b\\\\\\\"c/\xc3\xa9&\\\\n", "%61%20%62%22%63%2f%c3%a9%26%0a"}) {
    EXPECT_EQ(redactor.Redact(std::string("<") + form + ">"), "<[REDACTED:S]>") << form;
  }
}

TEST(Redactor, TakesOutSingleLinesOfAValueWithSeveral) {
  Redactor redactor =
      Redactor::Build(
          One("KEY", "-----BEGIN KEY-----\nMC4CAQAwBQYDK2VwBCIEIabcdef\n-----END KEY-----\n"))
          .value();
  EXPECT_EQ(redactor.Redact("  | MC4CAQAwBQYDK2VwBCIEIabcdef |"), "  | [REDACTED:KEY] |");
}

TEST(Redactor, JoinsOverlappingMatchesUnderTheNameOfTheFirst) {
  std::vector<NamedSecret> secrets;
  secrets.push_back({"A", Secret("abcdefgh")});
  secrets.push_back({"B", Secret("efghijkl")});
  secrets.push_back({"C", Secret("ijklmnop")});
  Redactor redactor = Redactor::Build(secrets).value();
  for (std::size_t chunk : {1, 2, 3, 5, 100}) {
    EXPECT_EQ(InChunks(redactor, "<abcdefghijklmnop>", chunk), "<[REDACTED:A]>");
    EXPECT_EQ(InChunks(redactor, "<efghijklabcdefgh>", chunk), "<[REDACTED:B][REDACTED:A]>");
  }
}

TEST(Redactor, HoldsBackNoMoreThanTheLongestFormEvenForAValueThatRepeatsItself) {
  Redactor redactor = Redactor::Build(One("R", "aaaaaaaa")).value();
  std::size_t out = 0;
  RedactionStream stream(redactor, [&](std::string_view piece) { out += piece.size(); });
  for (int i = 0; i < 1000; ++i) stream.Write(std::string(1000, 'a'));
  stream.Finish();
  EXPECT_EQ(out, std::string("[REDACTED:R]").size());
  EXPECT_EQ(stream.replaced(), 1u);
}

TEST(Redactor, RefusesAValueThatIsTooShortAndNamesItWithoutShowingIt) {
  Result<Redactor> built = Redactor::Build(One("PIN", "xq7"));
  ASSERT_FALSE(built);
  EXPECT_EQ(built.error().code, "secret.too_short");
  EXPECT_NE(built.error().ToString().find("PIN"), std::string::npos);
  EXPECT_EQ(built.error().ToString().find("xq7"), std::string::npos);  // L8
}

TEST(Redactor, WithoutSecretsPassesBytesThrough) {
  Redactor redactor = Redactor::Build({}).value();
  std::string text("\0\xff\x80 bytes", 9);
  EXPECT_EQ(redactor.Redact(text), text);
}

TEST(SecretScan, FindsAValueAcrossChunks) {
  Redactor redactor = Redactor::Build(One("TOKEN", "s3cr3t-value-42")).value();
  SecretScan scan(redactor);
  EXPECT_FALSE(scan.Write("xx s3cr3t-v"));
  EXPECT_EQ(scan.Write("alue-42"), "TOKEN");
}

// L9: the automaton against the plain meaning, on texts made to be nearly matching.
TEST(Redactor, AgreesWithTheSlowExactOne) {
  std::mt19937 random(20260622);
  auto pick = [&](std::size_t n) {
    return std::uniform_int_distribution<std::size_t>(0, n - 1)(random);
  };
  for (int round = 0; round < 400; ++round) {
    std::vector<NamedSecret> secrets;
    const std::string alphabet = round % 2 == 0 ? "ab" : "ab\n\"/+%\xc3\xa9 A1";
    std::size_t count = 1 + pick(3);
    for (std::size_t i = 0; i < count; ++i) {
      std::string value;
      for (std::size_t n = kMinSecretBytes + pick(10); n > 0; --n)
        value += alphabet[pick(alphabet.size())];
      secrets.push_back({"N" + std::to_string(i), Secret(value)});
    }
    Redactor redactor = Redactor::Build(secrets).value();
    std::string text;
    for (std::size_t n = pick(30); n > 0; --n) {
      const NamedSecret& secret = secrets[pick(secrets.size())];
      std::vector<SecretForm> forms = FormsOf(secret.value.Reveal(), 0);
      std::string_view form = forms[pick(forms.size())].bytes.Reveal();
      switch (pick(4)) {
        case 0:
          text += form;
          break;
        case 1:
          text += form.substr(0, pick(form.size() + 1));
          break;
        case 2:
          text += form.substr(pick(form.size()));
          break;
        default:
          text += alphabet[pick(alphabet.size())];
          break;
      }
    }
    const std::string want = test::SlowRedact(secrets, text);
    EXPECT_EQ(redactor.Redact(text), want);
    EXPECT_EQ(InChunks(redactor, text, 1 + pick(7)), want);
    EXPECT_EQ(redactor.FindIn(text).has_value(), want != text);
  }
}

}  // namespace
}  // namespace writ::runner
