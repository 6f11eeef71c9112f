// TerminalFilter: what of a session's output reaches an operator's terminal. A job is hostile: its
// bytes must not make the terminal answer (answers would be typed into the operator's shell), set
// titles or the clipboard, or do anything else that outlives the view.
//
// Passed in kProgram (what runs there has a terminal of its own): text, the plain controls, and
// escape sequences that move the cursor, erase, scroll, colour, or switch a short list of modes.
// In kText (it writes lines): text, newlines and tabs. Everything else - operating system
// commands, device control strings, queries and reports, C1 controls in both forms - becomes
// nothing in kProgram, and \xNN in kText. Any split into pieces gives the same bytes; what a
// sequence may hold is bounded.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace writ::cli {

class TerminalFilter {
 public:
  enum class Mode { kText, kProgram };
  explicit TerminalFilter(Mode mode) : mode_(mode) {}
  std::string Pass(std::string_view bytes);

  // Undoes what a program may have switched.
  static std::string_view Restore();

 private:
  enum class State { kGround, kEscape, kCsi, kString, kStringEscape, kUtf8, kCharset };
  void Byte(unsigned char byte, std::string& out);
  void Ground(unsigned char byte, std::string& out);
  void Drop(unsigned char byte, std::string& out) const;
  void EndCsi(unsigned char final, std::string& out);
  void EndUtf8(std::string& out);

  Mode mode_;
  State state_ = State::kGround;
  std::string sequence_;  // of kCsi after "ESC [", or the bytes of a character
  std::size_t missing_ = 0;
  bool overlong_ = false;
};

}  // namespace writ::cli
