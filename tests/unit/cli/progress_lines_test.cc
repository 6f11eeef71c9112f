// How far a run's transfers are, as a far plane tells it.
#include "progress_lines.h"

#include <gtest/gtest.h>

namespace writ::cli {
namespace {

// What is printed for bytes that come in these pieces, where standard error is no terminal.
std::string Printed(std::initializer_list<std::string_view> pieces) {
  testing::internal::CaptureStderr();
  Context context;
  ProgressLines lines(context);
  for (std::string_view piece : pieces) lines.Take(piece);
  return testing::internal::GetCapturedStderr();
}

TEST(ProgressLines, SayTheNewestOfWhatCameTogether) {
  EXPECT_EQ(Printed({"{\"phase\":\"fetching\",\"bytes\":1,\"files\":1}\n"
                     "{\"phase\":\"uploading\",\"bytes\":12582912,\"files\":3}\n"}),
            "-- uploading: 12.0 MiB, 3 files\n");
}

TEST(ProgressLines, ReadLinesThatAreCutAnywhereAndAreNoFlood) {
  EXPECT_EQ(Printed({"{\"phase\":\"fetching\",\"by", "tes\":1024,\"files\":1}", "\n{\"ph",
                     "ase\":\"uploading\",\"bytes\":12,\"files\":3}\n"}),
            "-- fetching: 1.0 KiB, 1 file\n");  // the second comes too soon
}

TEST(ProgressLines, ShowNothingThatIsNoLineOfOurs) {
  const std::string endless(100'000, 'x');
  for (std::string_view odd :
       {std::string_view("\x1b[2J\n"), std::string_view("{\"phase\":7,\"bytes\":1,\"files\":1}\n"),
        std::string_view("{\"phase\":\"x\",\"bytes\":-1,\"files\":1}\n"),
        std::string_view("{\"phase\":\"x\",\"bytes\":1}\n"), std::string_view("[]\n"),
        std::string_view("\n"), std::string_view(endless)})
    EXPECT_EQ(Printed({odd}), "") << odd.substr(0, 50);
  EXPECT_EQ(Printed({"{\"phase\":\"\\u001b[2J\",\"bytes\":1,\"files\":1}\n"}).find('\x1b'),
            std::string::npos);
}

}  // namespace
}  // namespace writ::cli
