#include <gtest/gtest.h>

#include "writ/backends/launch/launch_plan.h"
#include "writ/backends/launch/messages.h"
#include "writ/backends/launch/wire.h"

namespace writ::backends::launch {
namespace {

LaunchPlan FullPlan() {
  LaunchPlan plan;
  plan.born_in_cgroup = "/sys/fs/cgroup/v2";
  plan.cgroup_dirs = {"/sys/fs/cgroup/x"};
  plan.limits = {{7, 64}, {4, 0}};
  plan.identity = IdentityStep::kDrop;
  plan.uid = 61000;
  plan.gid = 61001;
  plan.cwd = "/w";
  plan.landlock.abi = 7;
  plan.landlock.paths = {{"/usr", PathAccess::kReadExecute, IfMissing::kSkip}};
  plan.landlock.connect_port = 8080;
  plan.filter = {{0x20, 1, 2, 0xfffffffe}};
  plan.supervise_connect = true;
  plan.proxy = ProxyTarget{0x0100007f, 40000};
  plan.argv = {"a", "", std::string("\xff\n", 2)};
  plan.namespaces = NamespacePlan{};
  plan.namespaces->counted = {"/home/job"};
  ViewStep step;
  step.kind = ViewStep::Kind::kOverlay;
  step.target = "workspace";
  step.source = "/cache/tree";
  step.upper = "/run/upper";
  step.work = "/run/work";
  step.bytes = 4096;
  step.access = BindAccess::kReadWrite;
  step.if_missing = IfMissing::kSkip;
  plan.namespaces->view = {step};
  plan.wall_timeout_ms = 600000;
  plan.term_grace_ms = 5000;
  return plan;
}

TEST(LaunchPlan, ReadsBackWhatWasWritten) {
  const std::string bytes = EncodeLaunchPlan(FullPlan());
  auto plan = DecodeLaunchPlan(bytes);
  ASSERT_TRUE(plan) << plan.error().ToString();
  EXPECT_EQ(EncodeLaunchPlan(*plan), bytes);
  EXPECT_EQ(plan->argv, FullPlan().argv);
  EXPECT_EQ(plan->filter[0].k, 0xfffffffe);
  EXPECT_EQ(plan->landlock.connect_port, 8080);
}

TEST(LaunchPlan, RefusesEveryTruncationAndEveryTrailingByte) {
  const std::string bytes = EncodeLaunchPlan(FullPlan());
  for (std::size_t size = 0; size < bytes.size(); ++size)
    EXPECT_FALSE(DecodeLaunchPlan(bytes.substr(0, size))) << size;
  EXPECT_FALSE(DecodeLaunchPlan(bytes + "x"));
}

TEST(LaunchPlan, SendsTheEnvironmentApart) {
  const std::vector<std::string> entries = {"A=b", "EMPTY=", std::string("N=\n\xff")};
  const std::string bytes = EncodeEnvironment(entries);
  auto back = DecodeEnvironment(bytes);
  ASSERT_TRUE(back);
  EXPECT_EQ(*back, entries);
  EXPECT_FALSE(DecodeEnvironment(bytes + "x"));
  EXPECT_FALSE(DecodeEnvironment(bytes.substr(1)));
}

TEST(LaunchPlan, RefusesCountsThatTheBytesCannotHold) {
  Writer out;
  out.Number(~0ull);
  Reader in(out.bytes());
  EXPECT_EQ(in.Count(8), 0u);
  EXPECT_FALSE(in.ok());
}

TEST(LaunchMessages, ReadBackWhatWasWritten) {
  EndedMessage ended;
  ended.cause = EndedMessage::Cause::kTimeOut;
  ended.observed = 1;
  ended.signalled = 1;
  ended.signal = 9;
  ended.tree_dead = 1;
  ended.duration_ns = 12345678901;
  for (const Message& message :
       {Message(CancelMessage{}), Message(DeadlineMessage{}), Message(OutputLimitMessage{}),
        Message(StartedMessage{4711}), Message(SetupFailedMessage{"landlock", 22}),
        Message(RefusedMessage{1, "curl", "192.0.2.1:443", "not the session's proxy"}),
        Message(ended), Message(LimitPassedMessage{}), Message(ReadyMessage{4712, "cold because"}),
        Message(GoMessage{}), Message(JobMessage{})}) {
    const std::string bytes = EncodeMessage(message);
    auto back = DecodeMessage(bytes);
    ASSERT_TRUE(back);
    EXPECT_EQ(back->index(), message.index());
    EXPECT_EQ(EncodeMessage(*back), bytes);
    for (std::size_t size = 0; size < bytes.size(); ++size)
      EXPECT_FALSE(DecodeMessage(bytes.substr(0, size)));
  }
}

}  // namespace
}  // namespace writ::backends::launch
