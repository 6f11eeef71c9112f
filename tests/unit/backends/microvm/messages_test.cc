#include "writ/backends/microvm/messages.h"

#include <gtest/gtest.h>

#include "writ/backends/microvm/entry_words.h"

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
  order.entries = true;
  order.terminal = TerminalSize{33, 97};
  return order;
}

TEST(MicrovmMessages, ReadWhatTheyWrote) {
  for (const HostWord& word :
       {HostWord(Order()), HostWord(Go{{"A=b", "C="}}), HostWord(Cancel{}), HostWord(Kill{}),
        HostWord(Resize{{1, 2}}), HostWord(SetClock{5}), HostWord(Hold{})}) {
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
  for (const GuestWord& word :
       {GuestWord(Prepared{}), GuestWord(Started{}), GuestWord(Refused{"curl", "1.2.3.4:5", "no"}),
        GuestWord(ended), GuestWord(ClockSet{7}), GuestWord(Held{true})}) {
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

TEST(MicrovmMessages, ReadWhatTheyWroteOfAnEntry) {
  EntryOrder order;
  order.request.argv = {"sh", "-c", "true"};
  order.request.environment = {"A=b"};
  order.request.cwd = "/w";
  order.request.terminal = TerminalSize{33, 97};
  for (const EntryHostWord& word :
       {EntryHostWord(order), EntryHostWord(EntrySignal{9}), EntryHostWord(EntryResize{{1, 2}})}) {
    const std::string bytes = Encode(word);
    auto read = DecodeEntryHostWord(bytes);
    ASSERT_TRUE(read) << word.index();
    EXPECT_EQ(Encode(*read), bytes);
    for (std::size_t size = 0; size < bytes.size(); ++size)
      EXPECT_FALSE(DecodeEntryHostWord(bytes.substr(0, size))) << word.index() << " " << size;
  }
  for (const EntryGuestWord& word :
       {EntryGuestWord(EntryStarted{}), EntryGuestWord(EntryFailed{"why", 11}),
        EntryGuestWord(EntryEnded{}), EntryGuestWord(EntryEnded{ExitStatus{true, 0, 9}, 7, 8})}) {
    const std::string bytes = Encode(word);
    auto read = DecodeEntryGuestWord(bytes);
    ASSERT_TRUE(read) << word.index();
    EXPECT_EQ(Encode(*read), bytes);
    EXPECT_FALSE(DecodeEntryGuestWord(bytes + '\0'));
  }
  // No process of Linux ends by such a signal.
  EXPECT_FALSE(DecodeEntryGuestWord(Encode(EntryGuestWord(EntryEnded{ExitStatus{true, 0, 100}}))));
  EXPECT_FALSE(DecodeEntryHostWord(Encode(EntryHostWord(EntrySignal{0}))));
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
