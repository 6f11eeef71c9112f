#include "terminal_filter.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace writ::cli {
namespace {

constexpr std::size_t kMaxSequence = 64;
constexpr unsigned char kEscapeByte = 0x1b;

// Final bytes of sequences without a prefix or intermediate byte that only draw: cursor (A-H, d, f,
// `, a, e), erase (J, K, X), insert and delete (L, M, P, @), scroll (S, T, r), tabs (I, Z, g),
// colour (m), saved cursor (s, u). Not: c, n, x, q, t, i, y.
constexpr std::string_view kDrawing = "ABCDEFGHdf`aeJKXLMP@STrIZgmsu";

// Private modes: cursor keys, wrap, blinking, visible cursor, the other screen in its three forms,
// bracketed paste. Not: mouse and focus reports, which make the terminal send; origin mode.
constexpr std::array<int, 8> kModes = {1, 7, 12, 25, 47, 1047, 1048, 1049};
constexpr int kBracketedPaste = 2004;

// After ESC without a bracket: save and restore the cursor, index, next line, tab stop, reverse
// index, keypad. Not: Z (identify), c (reset), and what begins strings.
constexpr std::string_view kShort = "78DEHM=>";

bool AllModesAreHarmless(std::string_view text) {
  while (true) {
    int mode = 0;
    const std::string_view word = text.substr(0, text.find(';'));
    auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), mode);
    if (error != std::errc() || end != word.data() + word.size()) return false;
    if (mode != kBracketedPaste && std::find(kModes.begin(), kModes.end(), mode) == kModes.end())
      return false;
    if (word.size() == text.size()) return true;
    text.remove_prefix(word.size() + 1);
  }
}

bool IsHarmless(std::string_view parameters, unsigned char final) {
  const bool plain = std::all_of(parameters.begin(), parameters.end(), [](char c) {
    return (c >= '0' && c <= '9') || c == ';' || c == ':';
  });
  // Of the modes inserting alone: the others lock the keyboard, or change what its keys send.
  if (plain && (final == 'h' || final == 'l')) return parameters == "4";
  if (plain) return kDrawing.find(static_cast<char>(final)) != std::string_view::npos;
  if (parameters.front() == '?' && (final == 'h' || final == 'l'))
    return AllModesAreHarmless(parameters.substr(1));
  return false;
}

}  // namespace

std::string_view TerminalFilter::Restore() {
  // The scrolled region's end moves the cursor, which is why it is kept and put back.
  return "\x1b[?1049l\x1b[?2004l\x1b[?1l\x1b[?7h\x1b[?25h\x1b[4l\x1b>"
         "\x1b\x37\x1b[r\x1b\x38\x0f\x1b(B\x1b[0m";
}

std::string TerminalFilter::Pass(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  for (char c : bytes) Byte(static_cast<unsigned char>(c), out);
  return out;
}

void TerminalFilter::Drop(unsigned char byte, std::string& out) const {
  if (mode_ == Mode::kProgram) return;
  constexpr char kHex[] = "0123456789abcdef";
  out += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
}

void TerminalFilter::Byte(unsigned char byte, std::string& out) {
  switch (state_) {
    case State::kGround:
      return Ground(byte, out);
    case State::kUtf8:
      if ((byte & 0xc0) != 0x80) {  // cut short: nothing of it is a character
        for (char c : sequence_) Drop(static_cast<unsigned char>(c), out);
        state_ = State::kGround;
        return Ground(byte, out);
      }
      sequence_.push_back(static_cast<char>(byte));
      if (--missing_ == 0) EndUtf8(out);
      return;
    case State::kEscape:
      state_ = State::kGround;
      if (byte == '[') {
        sequence_.clear();
        overlong_ = false;
        state_ = State::kCsi;
      } else if (byte == ']' || byte == 'P' || byte == 'X' || byte == '^' || byte == '_') {
        state_ = State::kString;
      } else if (byte == '(' || byte == ')' || byte == '*' || byte == '+') {
        sequence_.assign(1, static_cast<char>(byte));
        state_ = State::kCharset;
      } else if (kShort.find(static_cast<char>(byte)) != std::string_view::npos) {
        out += {'\x1b', static_cast<char>(byte)};
      } else if (byte == kEscapeByte) {
        state_ = State::kEscape;
      }
      return;
    case State::kCharset:  // ASCII and line drawing
      state_ = State::kGround;
      if (byte == 'B' || byte == '0') out += {'\x1b', sequence_[0], static_cast<char>(byte)};
      return;
    case State::kCsi:
      if (byte == kEscapeByte) {
        state_ = State::kEscape;
      } else if (byte == 0x18 || byte == 0x1a) {
        state_ = State::kGround;
      } else if (byte >= 0x40 && byte <= 0x7e) {
        EndCsi(byte, out);
      } else if (byte >= 0x20 && byte < 0x40) {
        overlong_ = overlong_ || sequence_.size() >= kMaxSequence;
        if (!overlong_) sequence_.push_back(static_cast<char>(byte));
      }  // controls within a sequence would act on their own: they go with it
      return;
    case State::kString:  // until BEL, ESC \, CAN or SUB
      if (byte == kEscapeByte) state_ = State::kStringEscape;
      if (byte == 0x07 || byte == 0x18 || byte == 0x1a) state_ = State::kGround;
      return;
    case State::kStringEscape:
      state_ = byte == '\\' ? State::kGround : State::kEscape;
      if (state_ == State::kEscape) Byte(byte, out);
      return;
  }
}

void TerminalFilter::Ground(unsigned char byte, std::string& out) {
  if (byte >= 0x20 && byte < 0x7f) {
    out.push_back(static_cast<char>(byte));
    return;
  }
  if (byte >= 0xc2 && byte <= 0xf4) {
    sequence_.assign(1, static_cast<char>(byte));
    missing_ = byte < 0xe0 ? 1 : byte < 0xf0 ? 2 : 3;
    state_ = State::kUtf8;
    return;
  }
  if (byte == '\n' || byte == '\t') {
    out.push_back(static_cast<char>(byte));
    return;
  }
  if (mode_ == Mode::kText) return Drop(byte, out);
  if (byte == kEscapeByte) {
    state_ = State::kEscape;
    return;
  }
  // BEL, backspace, VT, FF, CR, and the two shifts of character sets; not ENQ, which is answered.
  if ((byte >= 0x07 && byte <= 0x0f)) out.push_back(static_cast<char>(byte));
}

void TerminalFilter::EndCsi(unsigned char final, std::string& out) {
  state_ = State::kGround;
  if (overlong_ || !IsHarmless(sequence_, final)) return;
  out += "\x1b[" + sequence_;
  out.push_back(static_cast<char>(final));
}

void TerminalFilter::EndUtf8(std::string& out) {
  state_ = State::kGround;
  const auto first = static_cast<unsigned char>(sequence_[0]);
  const auto second = static_cast<unsigned char>(sequence_[1]);
  // U+0080..U+009F are controls; overlong forms and surrogates are no characters.
  const bool control = first == 0xc2 && second < 0xa0;
  const bool wrong = (first == 0xe0 && second < 0xa0) || (first == 0xed && second >= 0xa0) ||
                     (first == 0xf0 && second < 0x90) || (first == 0xf4 && second >= 0x90);
  if (!control && !wrong) {
    out += sequence_;
    return;
  }
  for (char c : sequence_) Drop(static_cast<unsigned char>(c), out);
}

}  // namespace writ::cli
