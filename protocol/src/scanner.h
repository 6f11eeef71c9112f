// Scanner: the one strict reader of JSON text; it fills a tape of nodes and builds no values.
//
// Everything that refuses text is in here, so that the tree (Parse) and the bundle verifier, which
// never has a tree of the whole, are strict in exactly the same way. The text outlives scanner and
// tape.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "writ/protocol/json.h"

namespace writ::json {

struct Node {
  enum Kind : std::uint8_t { kNull, kFalse, kTrue, kNumber, kString, kArray, kObject, kName };
  Kind kind = kNull;
  // A string or name with escapes; a number that is not its own canonical text.
  bool flagged = false;
  std::uint32_t begin = 0,
                end = 0;    // slice of the text; of strings and names without the quotation marks
  std::uint32_t next = 0;   // the node after this one and all that is in it
  std::uint32_t count = 0;  // elements or members
};
// An object is followed by (name, value) pairs, an array by its elements.
using Tape = std::vector<Node>;

// Sees the elements of the array that is the root object's member `member`, one by one, and keeps
// them off the tape: the tape holds the element from `node` on during the call only.
class ElementHook {
 public:
  virtual ~ElementHook() = default;
  virtual void OnElement(const Tape& tape, std::uint32_t node, std::size_t index) = 0;
  std::string_view member;  // written in the text without escapes, else the hook is not called
};

// How many values a text may have, where its bytes alone would allow too many.
struct ValueLimits {
  std::size_t in_all = SIZE_MAX;   // values seen, those that a hook took off the tape included
  std::size_t on_tape = SIZE_MAX;  // nodes at one time: what memory is spent on
};

class Scanner {
 public:
  Scanner(std::string_view text, const ParseOptions& options, ElementHook* hook = nullptr,
          const ValueLimits& values = {});
  // The whole text as one document. False: error() says why, and the tape means nothing.
  bool Scan(Tape& tape);
  const Error& error() const { return error_; }

 private:
  struct Frame {
    bool is_object = false;
    std::uint32_t name_node = 0;
    std::size_t index = 0;
  };
  bool ScanValue(Tape& tape);
  bool ScanObject(Tape& tape);
  bool ScanArray(Tape& tape);
  bool ScanString(Tape& tape, Node::Kind kind);
  bool ScanEscape(std::size_t& at);
  bool ScanNumber(Tape& tape);
  bool ScanWord(Tape& tape, std::string_view word, Node::Kind kind);
  bool CheckNames(const Tape& tape, std::uint32_t object);
  void SkipSpace();
  bool Fail(std::string_view code, std::string_view what, std::size_t at);
  bool FailUnexpected(std::string_view wanted);

  std::string_view text_;
  ParseOptions options_;
  ElementHook* hook_;
  ValueLimits limits_;
  std::size_t values_ = 0;
  std::size_t at_ = 0;
  std::vector<Frame> frames_;
  const Tape* tape_ = nullptr;
  Error error_;
};

// The text of a string or name node, escapes resolved.
std::string DecodeText(std::string_view text, const Node& node);
// A number of JSON's grammar; false where it is past the range of a double. Too small becomes 0.
bool ReadNumber(std::string_view digits, double& number);
// The value at a node.
Value ValueAt(std::string_view text, const Tape& tape, std::uint32_t node);
// Canonical bytes of the value at a node, without building it.
void AppendCanonicalAt(std::string_view text, const Tape& tape, std::uint32_t node,
                       std::string& out);
// The value node of an object's member; 0 where there is none (0 is the tape's first node, never a
// member's value).
std::uint32_t MemberAt(std::string_view text, const Tape& tape, std::uint32_t object,
                       std::string_view name);

}  // namespace writ::json
