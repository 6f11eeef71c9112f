#include "writ/backends/microvm/frames.h"

#include <gtest/gtest.h>

#include <vector>

namespace writ::test {
namespace {

using backends::microvm::Frame;
using backends::microvm::FrameReader;

TEST(MicrovmFrames, ComeOutWholeHoweverTheyAreCut) {
  const std::string bytes = Frame("one") + Frame("") + Frame(std::string(1000, 'x'));
  for (std::size_t piece : {std::size_t{1}, std::size_t{3}, std::size_t{500}, bytes.size()}) {
    FrameReader reader(1000);
    std::vector<std::string> got;
    for (std::size_t at = 0; at < bytes.size(); at += piece)
      ASSERT_TRUE(
          reader.Add(std::string_view(bytes).substr(at, piece), [&](std::string_view frame) {
            got.emplace_back(frame);
            return Status();
          }));
    EXPECT_EQ(got, (std::vector<std::string>{"one", "", std::string(1000, 'x')})) << piece;
    EXPECT_TRUE(reader.AtBoundary());
  }
}

TEST(MicrovmFrames, AreRefusedByTheirLengthAloneWhenTheyAreTooLong) {
  FrameReader reader(10);
  Status read = reader.Add(std::string("\x0b\0\0\0", 4), [](std::string_view) { return Status(); });
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, "microvm.frame");
}

}  // namespace
}  // namespace writ::test
