// What of a hostile job's output reaches an operator's terminal.
#include "terminal_filter.h"

#include <gtest/gtest.h>

namespace writ::cli {
namespace {

std::string Program(std::string_view bytes) {
  return TerminalFilter(TerminalFilter::Mode::kProgram).Pass(bytes);
}
std::string Text(std::string_view bytes) {
  return TerminalFilter(TerminalFilter::Mode::kText).Pass(bytes);
}

TEST(TerminalFilter, PassesTextInAnyLanguage) {
  const std::string text = "plain \xc3\xa4 \xe2\x82\xac \xf0\x9f\x99\x82\n\tend";
  EXPECT_EQ(Program(text), text);
  EXPECT_EQ(Text(text), text);
}

TEST(TerminalFilter, PassesWhatDraws) {
  for (const char* sequence : {"\x1b[31;1m", "\x1b[2J", "\x1b[10;20H", "\x1b[?1049h", "\x1b[?25l",
                               "\x1b[?2004h", "\x1b[K", "\x1b(B",
                               "\x1b"
                               "7",
                               "\x1bM", "\x1b[38:2:1:2:3m", "\x1b[?1;7h", "\r\b\a"})
    EXPECT_EQ(Program(sequence), sequence);
}

// Each of these makes some terminal answer, set a title or the clipboard, resize, print or reset.
TEST(TerminalFilter, DropsWhatATerminalWouldAnswerOrKeep) {
  for (const char* sequence : {"\x1b[c",
                               "\x1b[>c",
                               "\x1b[6n",
                               "\x1b[?6n",
                               "\x1b[5n",
                               "\x1b[21t",
                               "\x1b[8;1;1t",
                               "\x1b[x",
                               "\x1b[?1000h",
                               "\x1b[?1003;1h",
                               "\x1b[?1004h",
                               "\x1b[>4;2m",
                               "\x1b[2h",
                               "\x1b[4;2h",
                               "\x1b[20h",
                               "\x1b[!p",
                               "\x1b[5i",
                               "\x1b[1$p",
                               "\x1b]0;title\a",
                               "\x1b]52;c;ZWNobw==\a",
                               "\x1b]8;;http://x\x1b\\",
                               "\x1bP$qm\x1b\\",
                               "\x1bX x\x1b\\",
                               "\x1b^x\x1b\\",
                               "\x1b_x\x1b\\",
                               "\x1bZ",
                               "\x1b"
                               "c",
                               "\x05",
                               "\xc2\x9b"
                               "6n",
                               "\x9b"
                               "6n",
                               "\x1b[\x1b]0;x\a",
                               "\x1b%G",
                               "\x1b[?u",
                               "\x1b[>0q"}) {
    const std::string passed = Program(sequence);
    EXPECT_EQ(passed.find('\x1b'), std::string::npos) << sequence;
    EXPECT_EQ(passed.find('\x05'), std::string::npos) << sequence;
    EXPECT_EQ(passed.find('\x9b'), std::string::npos) << sequence;
  }
  EXPECT_EQ(Program("a\x1b]0;evil\x07"
                    "b"),
            "ab");
  EXPECT_EQ(Program("a\x1bPq#evil\x1b\\b"), "ab");
}

TEST(TerminalFilter, DoesNotDependOnThePieces) {
  const std::string bytes =
      "x\x1b[31my\x1b]52;c;AAAA\x1b\\z\xe2\x82\xac\xe2\x82\x1b[6n\x1b[?1049hend\xc2\x9b"
      "31m";
  const std::string whole = Program(bytes);
  TerminalFilter filter(TerminalFilter::Mode::kProgram);
  std::string pieces;
  for (char c : bytes) pieces += filter.Pass(std::string_view(&c, 1));
  EXPECT_EQ(pieces, whole);
}

TEST(TerminalFilter, ShowsControlsOfLinesAsText) {
  EXPECT_EQ(Text("a\x1b[31m\rb\x07\n"), "a\\x1b[31m\\x0db\\x07\n");
  EXPECT_EQ(Text("\xc2\x9b"), "\\xc2\\x9b");
  EXPECT_EQ(Text("\xff"), "\\xff");
}

TEST(TerminalFilter, BoundsASequenceThatDoesNotEnd) {
  EXPECT_EQ(Program("\x1b[" + std::string(100000, '1') + "mtext"), "text");
  EXPECT_EQ(Program("\x1b]" + std::string(100000, 'x') + "\atext"), "text");
}

}  // namespace
}  // namespace writ::cli
