// writ-verify as a program: exit codes, output, and that it is one static file.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>

#include "support.h"
#include "support/places.h"
#include "writ/base/child.h"
#include "writ/base/file.h"
#include "writ/protocol/key_manifest.h"

namespace writ::protocol {
namespace {

struct Ran {
  int code = -1;
  std::string out, err;
};

Ran RunVerify(std::vector<std::string> arguments, std::string_view input = "") {
  const auto memory = [] { return UniqueFd(::memfd_create("writ-verify-test", MFD_CLOEXEC)); };
  const auto text = [](const UniqueFd& fd) {
    ::lseek(fd.get(), 0, SEEK_SET);
    return ReadAll(fd.get(), 1 << 24).value();
  };
  const UniqueFd in = memory(), out = memory(), err = memory();
  EXPECT_TRUE(WriteAll(in.get(), input));
  ::lseek(in.get(), 0, SEEK_SET);
  SpawnOptions options;
  options.path = writ::test::BinDir() + "/writ-verify";
  options.argv = std::move(arguments);
  options.argv.insert(options.argv.begin(), "writ-verify");
  options.fds = {{in.get(), 0}, {out.get(), 1}, {err.get(), 2}};
  Result<Child> child = Child::Spawn(options);
  EXPECT_TRUE(child) << child.error().ToString();
  const auto status = child->Wait(std::chrono::seconds(60));
  EXPECT_TRUE(status && *status);
  return {(*status)->ShellCode(), text(out), text(err)};
}

class WritVerify : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = ::testing::TempDir() + "writ-verify-" + std::to_string(::getpid());
    std::filesystem::create_directory(dir_);
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  std::string File(const std::string& name, std::string_view bytes) {
    const std::string path = dir_ + "/" + name;
    UniqueFd dir = OpenDir();
    EXPECT_TRUE(WriteFileAtomic(dir.get(), name, bytes, 0600));
    return path;
  }
  UniqueFd OpenDir() { return UniqueFd(::open(dir_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)); }
  std::string dir_;
};

TEST_F(WritVerify, SaysVerifiedAndThatTheKeysAreNotPinned) {
  const std::string bundle = File("bundle.json", test::MakeRun({}).text);
  const Ran text = RunVerify({bundle});
  EXPECT_EQ(text.code, 0) << text.err;
  EXPECT_TRUE(text.out.starts_with("VERIFIED, keys not pinned")) << text.out;
  const Ran json = RunVerify({bundle, "--json"});
  EXPECT_EQ(json.code, 0);
  EXPECT_EQ(*json::Parse(json.out)->Find("pinned"), json::Value(false));
  EXPECT_EQ(RunVerify({"-"}, test::MakeRun({}).text).code, 0) << "from standard input";
}

TEST_F(WritVerify, HoldsTheBundleToPinnedKeys) {
  const std::string bundle = File("bundle.json", test::MakeRun({}).text);
  const std::string plane = File("plane.pem", test::Key("plane").Public().ToPem()),
                    runner = File("runner.pem", test::Key("runner").Public().ToPem());
  const Ran pinned = RunVerify(
      {bundle, "--plane-key", plane, "--runner-key=" + runner, "--require-pinned", "--json"});
  EXPECT_EQ(pinned.code, 0) << pinned.out;
  EXPECT_EQ(*json::Parse(pinned.out)->Find("pinned"), json::Value(true));
  EXPECT_EQ(RunVerify({bundle, "--require-pinned"}).code, 1);
  EXPECT_EQ(RunVerify({bundle, "--plane-key", runner}).code, 1);
}

TEST_F(WritVerify, ATamperedBundleIsNotVerifiedAndEachProblemHasItsCode) {
  std::string text = test::MakeRun({}).text;
  text.replace(text.find("do the work"), 11, "do any work");
  const Ran ran = RunVerify({File("bad.json", text)});
  EXPECT_EQ(ran.code, 1);
  EXPECT_NE(ran.out.find("NOT VERIFIED"), std::string::npos);
  EXPECT_NE(ran.out.find("contract.signature: "), std::string::npos) << ran.out;
  EXPECT_NE(ran.out.find("\nhint: do not rely on it"), std::string::npos) << ran.out;
}

TEST_F(WritVerify, SaysWhatToDoAboutAFileThatIsNoBundle) {
  for (const char* text : {"{", "[]", "{\"version\":\"other\"}"}) {
    const std::string file = File("none.json", text);
    EXPECT_EQ(RunVerify({file}).code, 1);
    EXPECT_NE(RunVerify({file}).out.find("\nhint: "), std::string::npos) << text;
    const auto value = json::Parse(RunVerify({file, "--json"}).out);
    ASSERT_TRUE(value) << text;
    EXPECT_TRUE(value->FindString("hint")) << text;
  }
}

TEST_F(WritVerify, UsageAndUnreadableInputAreTheirOwnExitCode) {
  const std::string bundle = File("bundle.json", test::MakeRun({}).text);
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{},
                                             {dir_ + "/absent"},
                                             {dir_},
                                             {bundle, "--nonsense"},
                                             {bundle, bundle},
                                             {bundle, "--plane-key"},
                                             {bundle, "--plane-key", bundle},
                                             {bundle, "--json=yes"}}) {
    const Ran ran = RunVerify(arguments);
    EXPECT_EQ(ran.code, 2);
    EXPECT_TRUE(ran.err.starts_with("writ-verify: ")) << ran.err;
    EXPECT_NE(ran.err.find("]\nhint: "), std::string::npos) << "code and hint: " << ran.err;
  }
  EXPECT_NE(RunVerify({dir_ + "/absent"}).err.find("[file.open_failed]"), std::string::npos);
  EXPECT_EQ(RunVerify({"--help"}).code, 0);
  EXPECT_EQ(RunVerify({"--version"}).out.substr(0, 12), "writ-verify ");
  const auto version = json::Parse(RunVerify({"--version", "--json"}).out);
  ASSERT_TRUE(version);
  EXPECT_TRUE(version->FindString("version"));
}

TEST_F(WritVerify, SaysWhatToDoAboutAManifestThatIsNone) {
  const std::string bundle = File("bundle.json", test::MakeRun({}).text);
  const std::string key = File("org.pem", test::Key("org").Public().ToPem());
  for (const auto& [text, code] : {std::pair{"{,}", "json.syntax"}, {"{}", "object.missing"}}) {
    const Ran ran =
        RunVerify({bundle, "--org-key", key, "--key-manifest", File("manifest.json", text)});
    EXPECT_EQ(ran.code, 2);
    EXPECT_NE(ran.err.find(std::string("[") + code + "]\nhint: "), std::string::npos) << ran.err;
  }
}

TEST_F(WritVerify, WithJsonEveryErrorIsOneJsonValueAndAWrongCommandLineToo) {
  const std::string bundle = File("bundle.json", test::MakeRun({}).text);
  for (const auto& [arguments, code] :
       std::vector<std::pair<std::vector<std::string>, std::string>>{
           {{"--json", "--bogus"}, "usage"},
           {{bundle, bundle, "--json"}, "usage"},
           {{"--json"}, "usage"},
           {{"--json", dir_ + "/absent"}, "file.open_failed"}}) {
    const Ran ran = RunVerify(arguments);
    EXPECT_EQ(ran.code, 2);
    const auto value = json::Parse(ran.out);
    ASSERT_TRUE(value) << ran.out;
    EXPECT_EQ(value->FindString("code"), code);
    EXPECT_TRUE(value->FindString("error")) << ran.out;
    EXPECT_TRUE(value->FindString("kind")) << ran.out;
  }
  const auto usage = json::Parse(RunVerify({"--json", "--bogus"}).out);
  EXPECT_EQ(usage->FindString("kind"), "invalid");
  EXPECT_EQ(usage->FindString("hint"), "writ-verify --help shows the options");
  EXPECT_EQ(RunVerify({"--bogus", "--", "--json"}).out, "") << "a file of that name";
}

TEST_F(WritVerify, ReadsNoMoreThanItsLimitAlsoOfWhatHasNoEnd) {
  const std::string text = test::MakeRun({}).text;
  const std::string bundle = File("bundle.json", text), bytes = std::to_string(text.size());
  EXPECT_EQ(RunVerify({bundle, "--max-bytes", bytes}).code, 0);
  for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{
           {"/dev/zero", "--max-bytes", "1000000", "--json"},
           {bundle, "--max-bytes=" + std::to_string(text.size() - 1), "--json"}}) {
    const Ran ran = RunVerify(arguments);
    EXPECT_EQ(ran.code, 2);
    EXPECT_EQ(json::Parse(ran.out)->FindString("code"), "file.too_large") << ran.out;
    EXPECT_NE(ran.err.find("--max-bytes N raises the limit"), std::string::npos) << ran.err;
  }
  for (const char* wrong : {"0", "", "many", "-1", "1e6", "99999999999999999999"})
    EXPECT_EQ(RunVerify({bundle, "--max-bytes", wrong}).code, 2) << wrong;
}

TEST_F(WritVerify, IsOneStaticFile) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers do not link statically";
#endif
  // No program header of type PT_INTERP: nothing is loaded at its start.
  const std::string image = ReadFile(writ::test::BinDir() + "/writ-verify", 1u << 30).value();
  EXPECT_EQ(image.find("/lib64/ld-linux"), std::string::npos);
}

TEST_F(WritVerify, PinsThePlaneByAManifestThatTheOrganisationSigned) {
  const test::MadeRun run = test::MakeRun({});
  const std::string bundle = File("bundle.json", run.text);
  const std::string org = File("org.pem", test::Key("org").Public().ToPem());
  const std::string runner = File("runner.pem", test::Key("runner").Public().ToPem());
  auto manifest = [&](const char* name, const char* listed, const char* signer) {
    KeyManifest draft;
    draft.issued_at = run.contract.issued_at;
    draft.plane_keys = {{test::Key(listed).Public(), run.contract.issued_at, std::nullopt}};
    return File(name, json::Write(SealKeyManifest(std::move(draft), test::Key(signer))->raw));
  };
  const std::string good = manifest("keys.json", "plane", "org");
  EXPECT_EQ(RunVerify({bundle, "--key-manifest", good, "--org-key", org, "--runner-key", runner,
                       "--require-pinned"})
                .code,
            0);
  const Ran other = RunVerify(
      {bundle, "--key-manifest", manifest("other.json", "stranger", "org"), "--org-key", org});
  EXPECT_EQ(other.code, 1);
  EXPECT_NE(other.out.find("pin.plane_key"), std::string::npos);
  const Ran forged = RunVerify(
      {bundle, "--key-manifest", manifest("forged.json", "plane", "plane"), "--org-key", org});
  EXPECT_EQ(forged.code, 1) << "a manifest that the organisation did not sign pins nothing";
  EXPECT_NE(forged.err.find("organisation's key"), std::string::npos);
  EXPECT_NE(forged.err.find("hint: "), std::string::npos);
  const Ran unpinned = RunVerify({bundle, "--require-pinned"});
  EXPECT_EQ(unpinned.code, 1);
  EXPECT_NE(unpinned.out.find("hint: give --plane-key and --runner-key"), std::string::npos);
  EXPECT_NE(other.out.find("hint: "), std::string::npos);
  EXPECT_EQ(RunVerify({bundle, "--key-manifest", good}).code, 2);
  EXPECT_EQ(RunVerify({bundle, "--key-manifest", bundle, "--org-key", org}).code, 2);
}

}  // namespace
}  // namespace writ::protocol
