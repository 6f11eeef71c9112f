#include <gtest/gtest.h>

#include "writ/backends/registry.h"

namespace writ::backends {
namespace {

class FakeBackend final : public Backend {
 public:
  FakeBackend(std::string name, Tier tier, std::string unusable)
      : name_(std::move(name)), tier_(tier) {
    capabilities_.tier = tier;
    capabilities_.usable = unusable.empty();
    capabilities_.unusable_reason = std::move(unusable);
  }
  std::string_view Name() const override { return name_; }
  Tier GetTier() const override { return tier_; }
  const Capabilities& Probe() override { return capabilities_; }
  Status Check(const Plan&) override { return {}; }
  Result<std::unique_ptr<Job>> Prepare(Plan) override {
    return Error{ErrorKind::kUnsupported, "fake"};
  }
  Result<Recovered> Recover(const LeftJob&, std::chrono::milliseconds) override {
    return Recovered{};
  }

 private:
  std::string name_;
  Tier tier_;
  Capabilities capabilities_;
};

std::unique_ptr<Backend> Fake(std::string name, Tier tier, std::string unusable = "") {
  return std::make_unique<FakeBackend>(std::move(name), tier, std::move(unusable));
}

TEST(BackendRegistry, RefusesASecondBackendOfTheSameName) {  // L7
  BackendRegistry registry;
  ASSERT_TRUE(registry.Add(Fake("crun", Tier::kContainer)));
  Status again = registry.Add(Fake("crun", Tier::kMicrovm));
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, "backends.duplicate_name");
  EXPECT_EQ(registry.All().size(), 1u);
}

TEST(BackendRegistry, ResolvesToTheFirstUsableOfTheTierAndNeverToAnotherTier) {  // L4
  BackendRegistry registry;
  ASSERT_TRUE(registry.Add(Fake("process", Tier::kProcess)));
  ASSERT_TRUE(registry.Add(Fake("runsc", Tier::kContainer, "runsc is not installed")));
  ASSERT_TRUE(registry.Add(Fake("crun", Tier::kContainer)));
  auto found = registry.Resolve(Tier::kContainer);
  ASSERT_TRUE(found);
  EXPECT_EQ((*found)->Name(), "crun");
  auto none = registry.Resolve(Tier::kMicrovm);
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().kind, ErrorKind::kUnsupported);
}

TEST(BackendRegistry, SaysWhyNoneOfTheTierIsUsable) {
  BackendRegistry registry;
  ASSERT_TRUE(registry.Add(Fake("runsc", Tier::kContainer, "runsc is not installed")));
  auto none = registry.Resolve(Tier::kContainer);
  ASSERT_FALSE(none);
  EXPECT_NE(none.error().message.find("runsc: runsc is not installed"), std::string::npos);
}

TEST(BackendRegistry, NamesTheKnownOnesWhenAskedForAnother) {
  BackendRegistry registry;
  ASSERT_TRUE(registry.Add(Fake("process", Tier::kProcess)));
  auto missing = registry.Find("firecracker");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().hint, "known backends: process");
}

}  // namespace
}  // namespace writ::backends
