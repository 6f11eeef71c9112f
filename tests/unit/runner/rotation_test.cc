// A change of key, killed at every step: the runner is the old one or the new one, whole (L39).
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "writ/base/file.h"
#include "writ/base/paths.h"
#include "writ/runner/identity.h"

namespace writ::runner {
namespace {

class RotationTest : public ::testing::Test {
 protected:
  RotationTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "writ-rotate-XXXXXX").string();
    state_ = mkdtemp(pattern.data());
    IdentityStore store = IdentityStore::Open(state_).value();
    old_key_ = store.LoadOrCreateKey()->Public().Id().text();
    EXPECT_TRUE(store.SaveEnrolment(protocol::RunnerId::Parse("rnr_1").value(), "default",
                                    Secret("old-token-text")));
  }
  ~RotationTest() override { std::filesystem::remove_all(state_); }
  std::string File(const std::string& name) const {
    return ReadFile(state_ + "/identity/" + name, 1 << 20).value();
  }
  void Write(const std::string& name, std::string_view bytes) {
    UniqueFd dir = OpenDirectory(state_ + "/identity").value();
    ASSERT_TRUE(WriteFileAtomic(dir.get(), name, bytes, 0600));
  }
  // The identity that a new process finds: "KEYID TOKEN".
  std::string Found() {
    auto store = IdentityStore::Open(state_);
    if (!store) return store.error().code;
    auto identity = store->Load();
    if (!identity || !*identity) return identity ? "none" : identity.error().code;
    return (*identity)->key.Public().Id().text() + " " + std::string((*identity)->token.Reveal());
  }
  std::string state_, old_key_;
};

TEST_F(RotationTest, GivesTheSameNextKeyUntilItIsCommitted) {
  IdentityStore store = IdentityStore::Open(state_).value();
  const std::string next = store.LoadOrCreateNextKey()->Public().Id().text();
  EXPECT_NE(next, old_key_);
  EXPECT_EQ(IdentityStore::Open(state_)->LoadOrCreateNextKey()->Public().Id().text(), next);
  EXPECT_EQ(Found(), old_key_ + " old-token-text");  // a key that nobody has taken changes nothing
  ASSERT_TRUE(store.CommitNextKey(Secret("new-token-text")));
  EXPECT_EQ(Found(), next + " new-token-text");
  EXPECT_NE(IdentityStore::Open(state_)->LoadOrCreateNextKey()->Public().Id().text(), next);
}

TEST_F(RotationTest, IsFinishedByTheNextStartWhereverItWasKilled) {
  const std::string old_key_file = File("runner.key.pem");
  const std::string old_identity = File("runner.json");
  IdentityStore store = IdentityStore::Open(state_).value();
  const std::string next = store.LoadOrCreateNextKey()->Public().Id().text();
  const std::string next_key_file = File("next.key.pem");
  ASSERT_TRUE(store.CommitNextKey(Secret("new-token-text")));
  const std::string new_identity = File("runner.json");

  struct Killed {
    const char* where;
    bool key_renamed, identity_written;
  };
  for (const Killed& at : {Killed{"after the token was written", false, false},
                           Killed{"after the key had its name", true, false},
                           Killed{"after the identity was written", true, true}}) {
    SCOPED_TRACE(at.where);
    Write("runner.token", "old-token-text");
    Write("next.token", "new-token-text");
    Write("runner.key.pem", at.key_renamed ? next_key_file : old_key_file);
    if (!at.key_renamed) Write("next.key.pem", next_key_file);
    Write("runner.json", at.identity_written ? new_identity : old_identity);
    EXPECT_EQ(Found(), next + " new-token-text");
    EXPECT_FALSE(std::filesystem::exists(state_ + "/identity/next.token"));
    EXPECT_FALSE(std::filesystem::exists(state_ + "/identity/next.key.pem"));
  }
}

TEST_F(RotationTest, CommitsNothingWithoutANextKey) {
  IdentityStore store = IdentityStore::Open(state_).value();
  Status committed = store.CommitNextKey(Secret("new-token-text"));
  ASSERT_FALSE(committed);
  EXPECT_EQ(committed.error().code, "runner.identity.damaged");
  EXPECT_EQ(Found(), old_key_ + " old-token-text");
}

}  // namespace
}  // namespace writ::runner
