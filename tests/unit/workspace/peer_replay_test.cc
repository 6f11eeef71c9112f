// The runs of an independent implementation, replayed: same blobs in, same diff bytes out.
#include "harness.h"
#include "support/shared_dir.h"
#include "writ/base/encoding.h"
#include "writ/protocol/json.h"

namespace writ::workspace::test {
namespace {

struct PeerRun {
  std::string name;
  std::map<std::string, std::string> job_writes;  // what the agent or shell did
  std::string diff_hash;
  std::vector<std::pair<std::string, std::string>> changed;  // path, content hash
};

std::string MockText(const std::string& task, const std::string& secret) {
  return "## task\n" + task + "\n\nsecret:" + secret + "\n";
}

const std::pair<std::string, std::string> kNotes{
    "notes.txt", "528eee7ba2c0adea12842fd3eab1088d4d8402d115182154b0baef559f2164f2"};
const std::pair<std::string, std::string> kSource{
    "src/a.txt", "b8c083898d90038ced2e04df2f932eefa7d187080dee0d9942be12c156d95034"};

std::vector<PeerRun> Runs() {
  return {
      {"mock",
       {{"MOCK_AGENT.md", MockText("probe the network", "absent")}},
       "99e676e516ce3f1def187b7ddadb1e98d53556e6756638f51aeb6b388a6e8868",
       {{"MOCK_AGENT.md", "f97c10368f78cce9a40fa41d43dd0dff58cf444769850dcce4a3fe004c4107be"},
        kNotes,
        kSource}},
      {"secret",
       {{"MOCK_AGENT.md", MockText("use the secret", "present")}},
       "4d272a6f670c69c722cc8ae5589e4ea290c362a27049a9d4faae0b9a2b87fcbe",
       {{"MOCK_AGENT.md", "65da366a7b35878040af8816d84c2fa5b9d6c5a345e9788b8329dda60c1dcacd"},
        kNotes,
        kSource}},
      {"fail",
       {{"MOCK_AGENT.md", MockText("please fail", "absent")}},
       "27bb3090f33907a631a8fa9a695fefabe19477d7fd3ac12c8d0d3e3f8102b9a1",
       {{"MOCK_AGENT.md", "effdc1eb4b1a5f562f91e478997a4a9f6abc7a8859b32c8976aa94a47fa197f9"},
        kNotes,
        kSource}},
      {"shell",
       {{"out.txt", "hi\n"}},
       "d5f883e7a2efb36f231a0b7d7176b0527be9ba741a1424b55b8decd2698106b8",
       {kNotes,
        {"out.txt", "98ea6e4f216f2fb4b69fff9b3a44842c38686ca685f3f55dc48c5d3fb1107be4"},
        kSource}},
  };
}

// Every blob that the recorded conversation uploaded, and the first manifest in it.
void LoadConversation(BlobFolder& blobs, protocol::Manifest& manifest) {
  std::string text = ReadFileAt(writ::test::PeerVectors() + "/http.json");
  auto value = json::Parse(text);
  WRIT_ASSERT_OK(value);
  bool have_manifest = false;
  for (const json::Value& item : value->array()) {
    const json::Value* request = item.Find("request");
    if (request == nullptr) continue;
    const json::Value* body = request->Find("body");
    if (body == nullptr || !body->is_object()) continue;
    if (auto base64 = body->FindString("base64"))
      if (auto bytes = Base64Decode(*base64)) blobs.Put(*bytes);
    const json::Value* inner = body->Find("request");
    const json::Value* workspace = inner != nullptr ? inner->Find("workspace") : nullptr;
    if (workspace != nullptr && !have_manifest) {
      auto parsed = protocol::Manifest::Parse(*workspace);
      WRIT_ASSERT_OK(parsed);
      manifest = std::move(*parsed);
      have_manifest = true;
    }
  }
  ASSERT_TRUE(have_manifest);
}

TEST(PeerReplay, RunsOfTheRecordedConversationGiveItsDiffHashes) {
  TempDir dir;
  BlobFolder blobs(dir.Sub("blobs"));
  protocol::Manifest manifest;
  LoadConversation(blobs, manifest);
  int number = 0;
  for (const PeerRun& run : Runs()) {
    SCOPED_TRACE(run.name);
    RunPlace place(dir.Sub("run" + std::to_string(number++)), dir.Sub("cache"));
    auto materialized = place.Materialize(manifest, blobs);
    WRIT_ASSERT_OK(materialized);
    EXPECT_EQ(ReadFileAt(place.tree + "/src/a.txt"), "one\n2\n");
    EXPECT_EQ(ReadFileAt(place.tree + "/notes.txt"), "untracked\n");
    for (const auto& [path, text] : run.job_writes) WriteFileAt(place.tree + "/" + path, text);
    auto collected = place.Collect(*materialized);
    WRIT_ASSERT_OK(collected);
    EXPECT_EQ(protocol::Sha256(collected->diff).ToHex(), run.diff_hash) << collected->diff;
    std::vector<std::pair<std::string, std::string>> changed;
    for (const ChangedFile& file : collected->changed)
      changed.emplace_back(file.path, file.content.ToHex());
    EXPECT_EQ(changed, run.changed);
    // The delta holds what the job did and nothing of the requester's own change.
    EXPECT_EQ(collected->delta.find("notes.txt"), std::string::npos);
    EXPECT_NE(collected->delta.find(run.job_writes.begin()->first), std::string::npos);
    EXPECT_TRUE(collected->findings.empty());
  }
}

}  // namespace
}  // namespace writ::workspace::test
