#include <gtest/gtest.h>

#include <random>
#include <string>

#include "writ/backends/head_tail.h"

namespace writ::backends {
namespace {

struct Sink final : OutputSink {
  void OnOutput(Stream, std::string_view bytes, std::chrono::nanoseconds) override {
    text += bytes;
  }
  void OnLeftOut(Stream, std::uint64_t bytes) override {
    text += "<" + std::to_string(bytes) + ">";
    ++gaps;
  }
  std::string text;
  int gaps = 0;
};

std::string Pass(std::uint64_t head, std::uint64_t tail, std::string_view input,
                 std::size_t chunk) {
  Sink sink;
  HeadTail keep(Stream::kStdout, head, tail, sink);
  for (std::size_t at = 0; at < input.size(); at += chunk) keep.Add(input.substr(at, chunk), {});
  keep.Finish({});
  EXPECT_EQ(keep.counters().seen, input.size());
  EXPECT_EQ(keep.counters().kept + keep.counters().left_out, input.size());
  return sink.text;
}

TEST(HeadTail, PassesEverythingUpToTheLimit) {
  EXPECT_EQ(Pass(3, 2, "abcde", 5), "abcde");
  EXPECT_EQ(Pass(3, 2, "ab", 1), "ab");
  EXPECT_EQ(Pass(3, 2, "", 1), "");
  EXPECT_EQ(Pass(0, 0, "", 1), "");
}

TEST(HeadTail, LeavesOutTheMiddleAndSaysHowMuch) {  // L18
  EXPECT_EQ(Pass(3, 2, "abcdef", 6), "abc<1>ef");
  EXPECT_EQ(Pass(0, 2, "abcdef", 2), "<4>ef");
  EXPECT_EQ(Pass(3, 0, "abcdef", 4), "abc<3>");
  EXPECT_EQ(Pass(0, 0, "abcdef", 1), "<6>");
}

TEST(HeadTail, DoesNotDependOnHowTheBytesWereCut) {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    std::string input(random() % 200, ' ');
    for (char& c : input) c = static_cast<char>('a' + random() % 26);
    const std::uint64_t head = random() % 50;
    const std::uint64_t tail = random() % 50;
    std::string want = input;
    if (input.size() > head + tail)
      want = input.substr(0, head) + "<" + std::to_string(input.size() - head - tail) + ">" +
             input.substr(input.size() - tail);
    for (std::size_t chunk : {1u, 2u, 7u, 64u, 1000u})
      EXPECT_EQ(Pass(head, tail, input, chunk), want);
  }
}

}  // namespace
}  // namespace writ::backends
