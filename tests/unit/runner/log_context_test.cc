#include "writ/base/log_context.h"

#include <gtest/gtest.h>

#include <thread>

#include "writ/base/log.h"
#include "writ/protocol/json.h"

namespace writ::log {
namespace {

TEST(LogContext, GivesEveryLineOfARunItsRunStepAndTrace) {
  const Level before = CurrentLevel();
  Configure(Level::kInfo, Format::kJson);
  auto context = std::make_shared<RunContext>("run_1", "0af7651916cd43dd8448eb211c80319c");
  testing::internal::CaptureStderr();
  Info("a.b", "outside");
  {
    InRun in_run(context);
    context->SetStep("started");
    Info("a.b", "inside");
    Info("a.b", "says it itself", {{"run", "run_2"}});
    // A thread that a run starts is of the run too.
    std::thread([taken = CurrentRun()] {
      InRun here(taken);
      Info("a.b", "beside");
    }).join();
  }
  Info("a.b", "after");
  const std::string text = testing::internal::GetCapturedStderr();
  Configure(before, Format::kText);
  std::vector<json::Value> lines;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = text.find('\n', at);
    auto line = json::Parse(std::string_view(text).substr(at, end - at));
    ASSERT_TRUE(line) << text;
    lines.push_back(*line);
    at = end + 1;
  }
  ASSERT_EQ(lines.size(), 5u);
  for (int i : {0, 4}) EXPECT_EQ(lines[static_cast<std::size_t>(i)].Find("run"), nullptr);
  for (int i : {1, 3}) {
    const json::Value& line = lines[static_cast<std::size_t>(i)];
    EXPECT_EQ(line.FindString("run"), "run_1");
    EXPECT_EQ(line.FindString("step"), "started");
    EXPECT_EQ(line.FindString("trace"), "0af7651916cd43dd8448eb211c80319c");
  }
  EXPECT_EQ(lines[2].FindString("run"), "run_2");
}

}  // namespace
}  // namespace writ::log
