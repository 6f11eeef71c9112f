// L46: a verifier checks the binding between the pieces. Every component swapped between two valid
// bundles, and every truncation, must fail; the fast reader and the plain one always say the same.
#include <functional>

#include "support.h"

namespace writ::protocol {
namespace {

using test::MakeRun;
using test::RunShape;

RunShape Other() {
  return {.run_id = "run_b",
          .prompt = "other work",
          .pool = "gpu:a100",
          .host = "other.example.org",
          .content = "two",
          .secret = "OTHER",
          .plane_key = "org",
          .runner_key = "stranger",
          .start_ms = 1782104999000};
}

// Verifies by both readers, holds them to the same report, returns it.
VerifyReport VerifyBoth(const json::Value& bundle, const VerifyOptions& options = {}) {
  const VerifyReport report = VerifyBundle(json::Write(bundle), options);
  EXPECT_EQ(RenderJson(report), RenderJson(VerifyBundleValue(bundle, options)));
  return report;
}

void ReplaceAt(json::Value& target, const std::vector<std::string>& path,
               const json::Value& value) {
  json::Value* at = &target;
  for (const std::string& step : path)
    at = at->is_array() ? &at->array().at(std::stoul(step)) : at->object().Find(step);
  *at = value;
}

// Every place of `a` that has a counterpart of other content in `b`, from the whole members down to
// the leaves.
void Places(const json::Value& a, const json::Value& b, std::vector<std::string>& path,
            const std::function<void(const json::Value&)>& visit) {
  if (!path.empty() && !(a == b)) visit(b);
  if (const json::Object* object = a.if_object(); object != nullptr && b.is_object()) {
    for (const json::Member& member : *object) {
      if (const json::Value* other = b.Find(member.name)) {
        path.push_back(member.name);
        Places(member.value, *other, path, visit);
        path.pop_back();
      }
    }
  } else if (const json::Array* items = a.if_array(); items != nullptr && b.is_array()) {
    for (std::size_t i = 0; i < items->size() && i < b.array().size(); ++i) {
      path.push_back(std::to_string(i));
      Places((*items)[i], b.array()[i], path, visit);
      path.pop_back();
    }
  }
}

std::size_t SwapAll(const RunShape& left, const RunShape& right) {
  const test::MadeRun a = MakeRun(left), b = MakeRun(right);
  EXPECT_TRUE(VerifyBoth(a.bundle).ok) << RenderText(VerifyBundle(a.text), "a");
  EXPECT_TRUE(VerifyBoth(b.bundle).ok);
  std::size_t swaps = 0;
  std::vector<std::string> path;
  Places(a.bundle, b.bundle, path, [&](const json::Value& other) {
    json::Value mixed = a.bundle;
    ReplaceAt(mixed, path, other);
    std::string pointer;
    for (const std::string& step : path) pointer = json::PointerTo(pointer, step);
    EXPECT_FALSE(VerifyBoth(mixed).ok) << pointer;
    ++swaps;
  });
  return swaps;
}

TEST(BundleSwap, NoComponentOfOneRunFitsAnotherOfOtherKeys) {  // L46
  EXPECT_GE(SwapAll({}, Other()), 120u);
}

TEST(BundleSwap, NoComponentOfOneRunFitsAnotherOfTheSameKeys) {  // L46
  RunShape other = Other();
  other.plane_key = "plane";
  other.runner_key = "runner";
  EXPECT_GE(SwapAll({}, other), 100u);
  // The same contract in all but the prompt: the nearest that two runs can be.
  EXPECT_GE(SwapAll({}, {.prompt = "do other work"}), 40u);
}

TEST(BundleSwap, EveryMemberRemovedOrNulledFails) {  // L46
  const test::MadeRun run = MakeRun({});
  std::size_t removed = 0;
  std::vector<std::string> path;
  const std::function<void(const json::Value&)> walk = [&](const json::Value& at) {
    if (const json::Object* object = at.if_object()) {
      for (const json::Member& member : *object) {
        json::Value less = run.bundle;
        json::Value* parent = &less;
        for (const std::string& step : path)
          parent = parent->is_array() ? &parent->array().at(std::stoul(step))
                                      : parent->object().Find(step);
        parent->object().Erase(member.name);
        EXPECT_FALSE(VerifyBoth(less).ok) << "without " << member.name;
        parent->object().Set(member.name, nullptr);
        EXPECT_FALSE(VerifyBoth(less).ok) << "null " << member.name;
        ++removed;
        path.push_back(member.name);
        walk(member.value);
        path.pop_back();
      }
    } else if (const json::Array* items = at.if_array()) {
      for (std::size_t i = 0; i < items->size(); ++i) {
        json::Value less = run.bundle;
        json::Value* list = &less;
        for (const std::string& step : path)
          list = list->is_array() ? &list->array().at(std::stoul(step)) : list->object().Find(step);
        list->array().erase(list->array().begin() + static_cast<std::ptrdiff_t>(i));
        EXPECT_FALSE(VerifyBoth(less).ok)
            << "without element " << i << " of " << (path.empty() ? "" : path.back());
        path.push_back(std::to_string(i));
        walk((*items)[i]);
        path.pop_back();
      }
    }
  };
  walk(run.bundle);
  EXPECT_GE(removed, 150u);
}

TEST(BundleSwap, TruncationAtEveryPositionFails) {  // L46
  const test::MadeRun run = MakeRun({});
  for (std::size_t length = 0; length < run.text.size(); ++length) {
    const VerifyReport report = VerifyBundle(std::string_view(run.text).substr(0, length));
    ASSERT_FALSE(report.ok) << length;
    ASSERT_EQ(report.problems.size(), 1u) << length;
  }
}

TEST(BundleSwap, EventsCutFromTheTailFailAtEveryCount) {  // L46
  const test::MadeRun run = MakeRun({});
  for (std::size_t keep = 0; keep < run.events.size(); ++keep) {
    json::Value bundle = run.bundle;
    bundle.object().Find("events")->array().resize(keep);
    EXPECT_FALSE(VerifyBoth(bundle).ok) << keep;
  }
}

TEST(BundleReaders, AgreeOnOddSpellingsOfTheSameBundle) {
  const test::MadeRun run = MakeRun({});
  EXPECT_TRUE(VerifyBundle(json::WritePretty(run.bundle)).ok);
  // A name written with an escape, a sequence number as a float, members in another order.
  const auto replaced = [&](std::string_view from, std::string_view to) {
    std::string text = run.text;
    const std::size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return text.replace(at, from.size(), to);
  };
  for (const std::string& text :
       {replaced("\"events\":[", "\"\\u0065vents\":["), replaced("\"seq\":1,", "\"seq\":1.0e0,"),
        replaced("\"type\":\"run.created\"", "\"type\":\"run\\u002ecreated\"")}) {
    const VerifyReport report = VerifyBundle(text);
    EXPECT_TRUE(report.ok) << RenderText(report, "odd");
    EXPECT_EQ(RenderJson(report), RenderJson(VerifyBundleValue(json::Parse(text).value())));
  }
  for (const std::string& text :
       {replaced("\"seq\":1,", "\"seq\":1,\"seq\":1,"), replaced("\"seq\":1,", "\"seq\":-0.5,"),
        replaced("\"seq\":1,", "\"seq\":01,"), replaced("do the work", "do the \xFFwork")}) {
    EXPECT_FALSE(VerifyBundle(text).ok);
    const Result<json::Value> value = json::Parse(text);
    if (!value) {
      EXPECT_EQ(VerifyBundle(text).problems.at(0).code, value.error().code);
      EXPECT_EQ(VerifyBundle(text).problems.at(0).message, value.error().message);
    }
  }
}

}  // namespace
}  // namespace writ::protocol
