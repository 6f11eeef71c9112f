#include "writ/backends/microvm/messages.h"

#include <gtest/gtest.h>

namespace writ::test {
namespace {

using namespace backends::microvm;
using backends::LimitKind;
using backends::Outcome;

JobOrder Order() {
  JobOrder order;
  order.run_id = "run_1";
  order.argv = {"sh", "-c", ""};
  order.cwd = "a/b";
  order.user_name = "job";
  order.home_files = {{".config/x", std::string("b\0y", 3), 0600}};
  order.home_directories = {".cache"};
  order.read_only_trees = {"/opt/agent"};
  order.on_base = true;
  order.base_trees = {"/var/lib/writ/objects"};
  order.limits.processes = 7;
  order.limits.disk_bytes = 1u << 30;
  order.proxied = true;
  return order;
}

TEST(MicrovmMessages, ReadWhatTheyWrote) {
  for (const HostWord& word :
       {HostWord(Order()), HostWord(Go{{"A=b", "C="}}), HostWord(Cancel{}), HostWord(Kill{})}) {
    auto read = DecodeHostWord(Encode(word));
    ASSERT_TRUE(read) << word.index();
    EXPECT_EQ(Encode(*read), Encode(word));
  }
  Ended ended;
  ended.kind = Outcome::Kind::kViolated;
  ended.reason = "why";
  ended.status = ExitStatus{true, 0, 9};
  ended.limit = LimitKind::kMemory;
  ended.leaks = {"process 1"};
  for (const GuestWord& word : {GuestWord(Prepared{}), GuestWord(Started{}),
                                GuestWord(Refused{"curl", "1.2.3.4:5", "no"}), GuestWord(ended)}) {
    auto read = DecodeGuestWord(Encode(word));
    ASSERT_TRUE(read) << word.index();
    EXPECT_EQ(Encode(*read), Encode(word));
  }
  EXPECT_EQ(Encode(*DecodeHello(Encode(Hello{"t", "a", "k", true, "", "i"}))),
            Encode(Hello{"t", "a", "k", true, "", "i"}));
  EXPECT_EQ(Encode(*DecodeIdentity(Encode(Identity{"e", 5, "h", "m", "t"}))),
            Encode(Identity{"e", 5, "h", "m", "t"}));
  EXPECT_EQ(DecodeIdentityTaken(Encode(IdentityTaken{7, true, "h", "m"}))->realtime_ns, 7u);
  EXPECT_EQ(DecodeMetrics(Encode(Metrics{1, 2, 3, 4, 5}))->uptime_us, 5u);
  const WarmUp command{{"/bin/sh", "-c", "true"}};
  EXPECT_EQ(DecodeWarmUp(Encode(command))->argv, command.argv);
  EXPECT_FALSE(DecodeWarmUp(Encode(WarmUp{})));
  WarmedUp warmed;
  warmed.status.code = 7;
  warmed.output = "said";
  EXPECT_EQ(DecodeWarmedUp(Encode(warmed))->status.code, 7);
  EXPECT_EQ(DecodeWarmedUp(Encode(warmed))->output, "said");
}

TEST(MicrovmMessages, RefuseEveryPrefixAndEverySuffix) {  // L3
  const std::string whole = Encode(HostWord(Order()));
  for (std::size_t size = 0; size < whole.size(); ++size)
    EXPECT_FALSE(DecodeHostWord(whole.substr(0, size))) << size;
  EXPECT_FALSE(DecodeHostWord(whole + '\0'));
}

// An end with an exit status that no process can have is none.
TEST(MicrovmMessages, RefuseAnImpossibleEnd) {
  Ended ended;
  ended.kind = Outcome::Kind::kExited;
  for (ExitStatus status :
       {ExitStatus{false, 256, 0}, ExitStatus{true, 0, 0}, ExitStatus{true, 0, 200}}) {
    ended.status = status;
    EXPECT_FALSE(DecodeGuestWord(Encode(GuestWord(ended))));
  }
}

}  // namespace
}  // namespace writ::test
